//! `thv registry status`: where the catalog comes from, in which state it is, how much is in it,
//! and which servers the `v1beta` lists of other clients leave out, and why.

use std::collections::BTreeMap;

use jiff::{Timestamp, Unit};
use serde::Serialize;
use thv_auth::LoginReason;
use thv_auth::machine::{CredentialKind, Way};
use thv_auth::oauth::DpopUse;
use thv_auth::status::{
    AuthReport, AuthState, LiveCheck, LiveResult, ReportedCredential, ReportedRules, ReportedStore,
};
use thv_config::world::{Env, World};
use thv_registry::{CatalogStatus, RegistryInfo, Revalidation, Snapshot, SourceKind};
use url::Url;

use crate::failure::CommandError;
use crate::output::table::{one_line, wrap};
use crate::output::{Output, json};
use crate::wire_up;

/// Clocks that are less than this apart, in seconds, disturb nothing; answers carry whole seconds only.
const SKEW_WORTH_TELLING: u64 = 5;
/// Names shown per reason in text; the JSON has all.
const NAMES_SHOWN: usize = 5;

pub(super) async fn run(
    as_json: bool,
    check: bool,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let registry = catalogs.default_registry()?;
    let login = if check {
        // The registry is asked about the token that is there, and nobody for another one.
        catalogs.auth.renew_nothing();
        let asked = catalogs.auth.live_report(thv_registry::question_url);
        Box::pin(asked).await.ok()
    } else {
        None
    };
    let unread = login.as_ref().and_then(why_unread);
    // A status that was asked for before anything is loaded would say nothing of use.
    let outcome = if unread.is_some() {
        None
    } else {
        Some(super::catalog(&catalogs, false, world, output).await)
    };
    let served = outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
    let snapshot = served.map(|served| &*served.snapshot);
    let login = match login {
        Some(login) => Some(login),
        None => catalogs.auth.report().await.ok(),
    };
    let report = Report::new(
        &registry.info(),
        login.filter(is_worth_telling),
        registry.status(),
        snapshot,
        world.clock.now(),
    )
    .reached_through(&*world.env)
    .unless_unread(unread);
    if as_json {
        output.print(json::pretty(&report).map_err(CommandError::encode)?)?;
    } else {
        output.print(report.text(output.width()))?;
    }
    // The state is told either way; the exit code tells a script whether there is a catalog.
    match (outcome, unread) {
        (Some(outcome), _) => outcome.map(|_| ()),
        (None, Some(Unread::Refused)) => Err(CommandError::TokenRefused),
        (None, Some(Unread::Unusable)) => Err(CommandError::CredentialUnusable),
        (None, _) => Ok(()),
    }
}

/// Why nothing is read where the registry was asked about the token: a read would get another one first.
#[derive(Clone, Copy)]
enum Unread {
    /// There is none that is good now, and no person is needed for one.
    NoToken,
    /// The configured credential gives none as it is.
    Unusable,
    /// The registry refuses the one of the login.
    Refused,
}

fn why_unread(login: &AuthReport) -> Option<Unread> {
    let way = login.credential.as_ref().map(|credential| credential.way);
    let is_login = matches!(way, None | Some(Way::Login));
    match (login.live.as_ref()?.result, login.state) {
        (LiveResult::NoToken, AuthState::Ready) => Some(Unread::NoToken),
        (LiveResult::NoToken, AuthState::Authenticated) if is_login => Some(Unread::NoToken),
        // With a store that does not open, a read asks nobody either and says what is wrong with it.
        (LiveResult::NoToken, state)
            if way == Some(Way::Configured) && state != AuthState::StoreUnavailable =>
        {
            Some(Unread::Unusable)
        }
        (LiveResult::Refused, _) if is_login => Some(Unread::Refused),
        _ => None,
    }
}

/// A registry that is read anonymously, and for which nothing else was passed over, has no login to tell of.
fn is_worth_telling(login: &AuthReport) -> bool {
    let credential = login.credential.as_ref();
    login.state != AuthState::None
        || credential.is_some_and(|credential| !credential.passed_over.is_empty())
}

/// The credential in a line: which one, and why.
fn credential_line(credential: &ReportedCredential) -> String {
    let kind = credential.kind.map(CredentialKind::as_str);
    let what = match (credential.way, kind) {
        (Way::Environment, Some(kind)) => format!("{kind} from the environment"),
        (Way::Environment, None) => "from the environment".to_owned(),
        (Way::Configured, Some(kind)) => format!("{kind}, configured"),
        (Way::Configured, None) => "configured".to_owned(),
        (Way::Login, _) => "a login".to_owned(),
        (Way::None, _) => "none".to_owned(),
    };
    let mut line = format!("{what}: {}", credential.why);
    for passed_over in &credential.passed_over {
        line.push_str("; not used, because ");
        line.push_str(passed_over);
    }
    line
}

/// Whether somebody is logged in, and who.
fn who_fields(login: &AuthReport) -> Vec<(&'static str, String)> {
    let who = login.account.as_ref().map(|account| {
        let name = account.email.as_ref().or(account.name.as_ref());
        name.unwrap_or(&account.sub).clone()
    });
    let needs_no_person = login
        .credential
        .as_ref()
        .is_some_and(|credential| matches!(credential.way, Way::Environment | Way::Configured));
    let state = match (login.state, &login.detail) {
        (AuthState::Authenticated, _) if needs_no_person => match &who {
            Some(who) => format!("not needed, the credential is that of {who}"),
            None => "not needed".to_owned(),
        },
        (AuthState::Ready, _) => "not needed; no token was fetched yet".to_owned(),
        (AuthState::Authenticated, _) => match &who {
            Some(who) => format!("logged in as {who}"),
            None => "logged in".to_owned(),
        },
        (_, Some(detail)) => detail.clone(),
        (_, None) => "not logged in".to_owned(),
    };
    let mut fields = vec![("Login", state)];
    if login.reason == Some(LoginReason::InsufficientScope.as_str()) {
        fields.extend(who.map(|who| ("Account", who)));
        fields.push(("Scopes", login.scopes.granted.join(" ")));
    }
    fields
}

/// What a person wants to know of the login.
fn login_fields(login: &AuthReport) -> Vec<(&'static str, String)> {
    let mut fields = who_fields(login);
    if let Some(credential) = &login.credential {
        fields.push(("Credential", credential_line(credential)));
    }
    if let Some(issuer) = &login.issuer {
        fields.push(("Issuer", issuer.clone()));
    }
    if let Some(at) = login.expires_at {
        let renewal = if login.refreshable {
            "renewed by itself"
        } else {
            "then log in again"
        };
        let is_bound = login
            .token_type
            .as_deref()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP"));
        let bound = if is_bound {
            ", bound to a key of this login"
        } else {
            ""
        };
        fields.push((
            "Token",
            format!("until {} ({renewal}{bound})", in_seconds(at)),
        ));
    }
    if let Some(at) = login.received_at {
        fields.push(("Received", in_seconds(at)));
    }
    if let Some(last) = &login.last_refresh {
        fields.push((
            "Renewal",
            format!("{} at {}", last.result, in_seconds(last.at)),
        ));
    }
    fields.push(("Tokens in", store(&login.store)));
    if let Some(skew) = login
        .clock_skew_s
        .filter(|skew| skew.unsigned_abs() >= SKEW_WORTH_TELLING)
    {
        let where_to = if skew > 0 {
            "ahead of ours"
        } else {
            "behind ours"
        };
        let apart = skew.unsigned_abs();
        fields.push(("Clock", format!("the provider's is {apart} s {where_to}")));
    }
    if !login.relaxations.is_empty() {
        fields.push(("Relaxed", login.relaxations.join(", ")));
    }
    if let Some(rules) = &login.rules {
        fields.push(("Rules", rules_words(rules)));
    }
    if let Some(count) = login.queued_revocations {
        fields.push((
            "To revoke",
            format!("{count} tokens of earlier logouts, as soon as the provider answers"),
        ));
    }
    if !login.scopes.unrequested.is_empty() {
        let more = login.scopes.unrequested.join(" ");
        fields.push((
            "Unasked",
            format!("{more} (granted, and not asked for: more than the registry needs)"),
        ));
    }
    if !login.scopes.wanted.is_empty() {
        let wanted = login.scopes.wanted.join(" ");
        fields.push((
            "Wanted",
            format!("{wanted} (the next login asks for it too)"),
        ));
    }
    if let Some(live) = &login.live {
        fields.push(("Registry", live_words(live)));
    }
    for warning in &login.warnings {
        fields.push(("Warning", warning.clone()));
    }
    if let Some(next) = &login.next_step {
        fields.push(("To do", to_do(next)));
    }
    fields
}

fn rules_words(rules: &ReportedRules) -> String {
    let mut words = match (rules.strict, rules.relaxed.is_empty()) {
        (true, true) => "strict".to_owned(),
        (true, false) => format!("strict, without {}", rules.relaxed.join(", ")),
        (false, _) => "issuer and client were named by hand; `thv registry login --strict` holds them to every rule".to_owned(),
    };
    if rules.dpop != DpopUse::default().as_str() {
        words.push_str("; bound tokens: ");
        words.push_str(rules.dpop);
    }
    words
}

/// A command alone stands between backticks, words have theirs in them.
fn to_do(step: &str) -> String {
    if step.starts_with("thv ") {
        format!("`{step}`")
    } else {
        step.to_owned()
    }
}

fn store(store: &ReportedStore) -> String {
    if let Some(problem) = &store.problem {
        return problem.clone();
    }
    let mut words = vec![store.kind.unwrap_or("no store").to_owned()];
    words.extend(store.file.clone());
    words.extend(store.key.as_ref().map(|key| format!("key: {key}")));
    words.join(", ")
}

fn live_words(live: &LiveCheck) -> String {
    match live.result {
        LiveResult::Accepted => "it takes the token".to_owned(),
        LiveResult::Refused => "it refuses the token".to_owned(),
        LiveResult::Forbidden => {
            "it takes the token and refuses the request: the account or the scopes are not enough"
                .to_owned()
        }
        LiveResult::Unclear => live.detail.clone().unwrap_or_else(|| {
            format!(
                "it answers {}, which says nothing of the token",
                live.status.unwrap_or_default()
            )
        }),
        LiveResult::Unreachable => format!(
            "it does not answer: {}",
            live.detail.as_deref().unwrap_or("no answer came")
        ),
        LiveResult::NoToken => format!(
            "not asked: {}",
            live.detail
                .as_deref()
                .unwrap_or("there is no token that is good now")
        ),
    }
}

/// Everything that is told, in the order of the JSON.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    r#type: &'static str,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    auth_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<AuthReport>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    servers: usize,
    containers: usize,
    remotes: usize,
    skills: usize,
    plugins: usize,
    unreadable_rows: usize,
    incremental: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_file: Option<String>,
    not_in_v1beta: Vec<Group>,
}

/// Servers that are left out for one reason.
#[derive(Debug, Serialize)]
struct Group {
    reason: String,
    count: usize,
    names: Vec<String>,
}

impl Report {
    fn new(
        info: &RegistryInfo,
        login: Option<AuthReport>,
        status: CatalogStatus,
        snapshot: Option<&Snapshot>,
        now: Timestamp,
    ) -> Self {
        Self {
            name: info.name.clone(),
            r#type: info.kind.as_str(),
            source: info.source.clone(),
            proxy: None,
            auth_status: info.auth_status.as_str(),
            login,
            state: status.state,
            why: status.fault.map(|(fault, _)| fault.to_string()),
            checked_at: status.checked_at.map(in_seconds),
            age_seconds: status
                .checked_at
                .map(|at| now.duration_since(at).as_secs().unsigned_abs()),
            servers: status.counts.servers,
            containers: status.counts.containers,
            remotes: status.counts.remotes,
            skills: status.counts.skills,
            plugins: status.counts.plugins,
            unreadable_rows: status.bad_rows,
            incremental: status.incremental,
            cache_file: status.cache_file.map(|path| path.display().to_string()),
            not_in_v1beta: group(snapshot.into_iter().flat_map(Snapshot::omitted)),
        }
    }

    /// The same, where nothing was read on purpose.
    fn unless_unread(self, unread: Option<Unread>) -> Self {
        let why = match unread {
            None => return self,
            Some(Unread::NoToken) => {
                "no token is good now, and --check asks for none; `thv registry list` does"
            }
            Some(Unread::Unusable) => "the configured credential cannot be used as it is",
            Some(Unread::Refused) => {
                "the registry refuses the token, and --check asks for no other; `thv registry list` does"
            }
        };
        Self {
            state: "not read",
            why: Some(why.to_owned()),
            ..self
        }
    }

    /// The same with the proxy of `env` that stands before the source, if one does.
    fn reached_through(self, env: &dyn Env) -> Self {
        let url = Url::parse(&self.source).ok();
        Self {
            proxy: url.and_then(|url| thv_http::proxy_for(env, &url)),
            ..self
        }
    }

    fn text(&self, width: usize) -> String {
        let mut text = String::new();
        let mut field = |label: &str, value: &str| {
            let label = format!("{label}:");
            text.extend([format!("{label:<12}"), one_line(value), "\n".to_owned()]);
        };
        let place = match (self.r#type, self.source.as_str()) {
            (kind, _) if kind == SourceKind::Default.as_str() => "built-in".to_owned(),
            (kind, source) => format!("{source} ({kind})"),
        };
        field("Source", &place);
        if let Some(proxy) = &self.proxy {
            field("Proxy", proxy);
        }
        let state = match (&self.checked_at, self.age_seconds) {
            (Some(at), Some(age)) => {
                format!("{}, as of {at} ({} ago)", self.state, duration(age))
            }
            _ => self.state.to_owned(),
        };
        field("State", &state);
        if let Some(why) = &self.why {
            field("Why", why);
        }
        if let Some(login) = &self.login {
            for (label, value) in login_fields(login) {
                field(label, &value);
            }
        } else if self.auth_status != "none" {
            field("Login", self.auth_status);
        }
        field(
            "Servers",
            &format!(
                "{} ({} container, {} remote, {} other)",
                self.servers,
                self.containers,
                self.remotes,
                self.servers.saturating_sub(self.containers + self.remotes),
            ),
        );
        field("Skills", &self.skills.to_string());
        field("Plugins", &self.plugins.to_string());
        if self.unreadable_rows > 0 {
            field(
                "Unreadable",
                &format!(
                    "{} rows of the source could not be read",
                    self.unreadable_rows
                ),
            );
        }
        if let Some(file) = &self.cache_file {
            field("Kept in", file);
        }
        self.push_left_out(&mut text, width);
        text
    }

    fn push_left_out(&self, text: &mut String, width: usize) {
        let count: usize = self.not_in_v1beta.iter().map(|group| group.count).sum();
        if count == 0 {
            return;
        }
        let left_out =
            format!("Not in the v1beta lists that desktop clients read: {count} servers");
        text.push('\n');
        text.push_str(&wrap(&left_out, 0, width));
        for group in &self.not_in_v1beta {
            let names = group
                .names
                .iter()
                .take(NAMES_SHOWN)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            let more = group.count.saturating_sub(NAMES_SHOWN);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            text.push_str(&wrap(
                &format!("{} - {}", group.count, group.reason),
                2,
                width,
            ));
            text.push_str(&wrap(&format!("{names}{more}"), 6, width));
        }
    }
}

/// A time without the fraction that nobody reads.
fn in_seconds(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

/// Groups by reason, the largest group first.
fn group<'a>(omitted: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Group> {
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, reason) in omitted {
        reasons
            .entry(reason.to_owned())
            .or_default()
            .push(name.to_owned());
    }
    let mut groups: Vec<Group> = reasons
        .into_iter()
        .map(|(reason, names)| Group {
            reason,
            count: names.len(),
            names,
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

/// `42 s`, `7 min`, `3 h`, `2 d`: whole units, rounded down.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let npm = ["b/1", "b/2", "b/3", "b/4", "b/5", "b/6", "b/7"].map(|name| (name, "npm only"));
        let left_out = std::iter::once(("a/1", "several containers")).chain(npm);
        Report {
            name: "default".to_owned(),
            r#type: "api",
            source: "https://example.com".to_owned(),
            proxy: None,
            auth_status: "none",
            login: None,
            state: "ready",
            why: None,
            checked_at: Some("2026-11-23T10:00:00Z".to_owned()),
            age_seconds: Some(150),
            servers: 10,
            containers: 1,
            remotes: 1,
            skills: 2,
            plugins: 0,
            unreadable_rows: 0,
            incremental: false,
            cache_file: None,
            not_in_v1beta: group(left_out),
        }
    }

    #[test]
    fn what_a_view_leaves_out_is_grouped_by_reason() {
        assert_eq!(
            report().text(80),
            "Source:     https://example.com (api)\n\
             State:      ready, as of 2026-11-23T10:00:00Z (2 min ago)\n\
             Servers:    10 (1 container, 1 remote, 8 other)\n\
             Skills:     2\n\
             Plugins:    0\n\
             \nNot in the v1beta lists that desktop clients read: 8 servers\n  \
             7 - npm only\n      b/1, b/2, b/3, b/4, b/5 and 2 more\n  \
             1 - several containers\n      a/1\n"
        );
    }

    #[test]
    fn the_json_has_every_name() {
        let value = serde_json::to_value(report()).unwrap();
        assert_eq!(
            value["not_in_v1beta"][0]["names"].as_array().unwrap().len(),
            7
        );
        assert_eq!(value["state"], "ready");
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        let told = [5, 119, 7200, 172_800].map(duration);
        assert_eq!(told, ["5 s", "1 min", "2 h", "2 d"]);
    }
}
