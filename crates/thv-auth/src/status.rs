//! The whole picture of a registry's login, for people and for programs: [`AuthReport`].
//!
//! It is put together from the store, the last outcomes and the settings. Making one asks neither the provider nor the
//! registry, and spends nothing. What the registry says to the current token is added on request ([`LiveCheck`]).

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use thv_http::{HttpError, Reply};
use thv_secrets::StoreKind;
use thv_secrets::select::Why;
use url::Url;

use crate::binding::Binding;
use crate::credentials::{AuthError, Credentials as _, LoginReason};
use crate::doctor::proof_fault;
use crate::grant::{Grant, GrantOrigin};
use crate::machine::settings::CredentialKind;
use crate::machine::way::{Choice, Way};
use crate::oauth::unrequested_scopes;
use crate::pin::Pin;
use crate::refresh::{Need, RefreshEngine, View, blocking};
use crate::relaxation::Relaxation;
use crate::rules::LoginRules;
use crate::skew::shifted;
use crate::tokens::GrantCredentials;

/// Where a registry's login stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthState {
    /// The registry is read anonymously.
    None,
    /// A login is needed.
    LoginRequired,
    /// A usable grant is known.
    Authenticated,
    /// There is a grant, and its provider cannot be reached to renew it.
    ProviderUnavailable,
    /// The secret store cannot be used, so that nothing is known.
    StoreUnavailable,
    /// A credential is configured that fetches its tokens itself, and none was needed yet.
    Ready,
    /// The configured credential is not whole, or what it names is not there.
    CredentialUnusable,
}

/// The whole picture. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuthReport {
    /// Where the login stands.
    pub state: AuthState,
    /// The word of what is missing, as in the error answers of reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who is logged in, when an ID token told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<ReportedAccount>,
    /// The identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Our client identifier there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Sent as `resource`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Sent as `audience`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The scopes.
    pub scopes: ReportedScopes,
    /// Where the grant comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<GrantOrigin>,
    /// The secret store.
    pub store: ReportedStore,
    /// The type of the access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// When the access token expires, by our clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether the grant can be renewed without anybody.
    pub refreshable: bool,
    /// From when on this process renews it behind the back of its users; only in one that does so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_refresh_at: Option<Timestamp>,
    /// Whether it is being renewed by this process now.
    pub refreshing: bool,
    /// The end of the last renewal: in this process, or in the one that stored the grant, whichever was later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refresh: Option<ReportedRefresh>,
    /// A renewal began at this time, and nothing is known of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_outcome_unknown_since: Option<Timestamp>,
    /// Seconds until a renewal is tried again after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// How many seconds servers' clocks are ahead of ours; absent before one was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_skew_s: Option<i64>,
    /// Which credential is used, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<ReportedCredential>,
    /// Rules that were not applied at the login, and what else is not as strict as it could be.
    pub relaxations: Vec<&'static str>,
    /// The rules for logins to this registry, as a person has settled them; absent where no login is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<ReportedRules>,
    /// A login that is running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_login: Option<PendingLogin>,
    /// When the access token was got, by our clock: at the login or at the last renewal, whichever process made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
    /// How many tokens of earlier logouts the provider could not be told of yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_revocations: Option<usize>,
    /// What the registry says to the current token, when somebody wanted to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveCheck>,
    /// What works and could do harm, for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What to type next, when something is to be done: a command, or words with commands between backticks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<Cow<'static, str>>,
    /// What it means when the registry refuses a credential that needs no person, and what to do then; absent for a login.
    #[serde(skip)]
    pub if_refused: Option<(LoginReason, String)>,
}

/// What the registry said to the current token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LiveCheck {
    /// The verdict in one word.
    pub result: LiveResult,
    /// The status of its answer, when one came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What happened instead of an answer, or what was refused in place of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What a registry makes of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveResult {
    /// It takes it; or it answers without one where no login is configured.
    Accepted,
    /// It refuses it (401).
    Refused,
    /// It takes it and refuses the request (403): the account or the scopes are not enough.
    Forbidden,
    /// It answers something that says nothing of the token.
    Unclear,
    /// It does not answer.
    Unreachable,
    /// There is no token at hand that is good now, and the registry was not asked.
    NoToken,
}

/// Who is logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportedAccount {
    /// The issuer's name for the account.
    pub sub: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// Which credential is used, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportedCredential {
    /// Where it comes from.
    pub way: Way,
    /// Which kind it is; absent for a login and for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<CredentialKind>,
    /// Why it is this one.
    pub why: String,
    /// What is there and is for another registry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<String>,
}

/// Scopes asked for and granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReportedScopes {
    /// Asked for.
    pub requested: Vec<String>,
    /// Granted, as far as the provider named them.
    pub granted: Vec<String>,
    /// Granted, and not asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unrequested: Vec<String>,
    /// What the registry wanted beyond those; the next login asks for them too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<String>,
}

/// The rules for logins to one registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportedRules {
    /// Whether what registry and issuer say of themselves has to fit, apart from what is relaxed: so after a login that was found
    /// from the registry's URL, or with `--strict`. Otherwise somebody named issuer and client, whose word counts more.
    pub strict: bool,
    /// What a person has relaxed, for later logins too.
    pub relaxed: Vec<&'static str>,
    /// `auto`, `required` or `off`: whether tokens are bound to a key.
    pub dpop: &'static str,
}

/// The secret store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReportedStore {
    /// `encrypted` or `environment`; absent when none can be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Whether it can be used.
    pub usable: bool,
    /// Why it cannot, and what to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The file it is in, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where the key of that file comes from, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What decided on this store, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

/// The end of a renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportedRefresh {
    /// When, by our clock.
    pub at: Timestamp,
    /// `renewed`, `adopted`, or the word of the failure.
    pub result: &'static str,
}

/// A login that waits for a person. Its name is not told here, because whoever knows it can answer and end it: who may start a login
/// joins this one, and is told then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingLogin {
    /// When it began.
    pub started_at: Timestamp,
    /// When it is given up.
    pub expires_at: Timestamp,
}

impl AuthReport {
    /// The report of a registry that is read anonymously.
    pub fn anonymous() -> Self {
        Self {
            state: AuthState::None,
            reason: None,
            detail: None,
            account: None,
            issuer: None,
            client_id: None,
            resource: None,
            audience: None,
            scopes: ReportedScopes::default(),
            source: None,
            store: ReportedStore::default(),
            token_type: None,
            expires_at: None,
            refreshable: false,
            next_refresh_at: None,
            refreshing: false,
            last_refresh: None,
            refresh_outcome_unknown_since: None,
            retry_after_s: None,
            clock_skew_s: None,
            credential: None,
            relaxations: Vec::new(),
            rules: None,
            pending_login: None,
            received_at: None,
            queued_revocations: None,
            live: None,
            warnings: Vec::new(),
            next_step: None,
            if_refused: None,
        }
    }

    /// The report of a registry that `binding` is for. Reads the store, nothing else.
    pub async fn of(engine: &RefreshEngine, binding: &Binding) -> Self {
        let credentials = GrantCredentials::new(engine, binding);
        credentials.look().await;
        let store = store_report(engine).await;
        let lane = engine.lane(binding);
        let view = lane.view.borrow().clone();
        let error = current_error(engine, &view, credentials.login_needed());
        let mut report = Self {
            state: state(&view, error.as_ref()),
            reason: error.as_ref().map(AuthError::reason),
            detail: match view.unreadable() {
                Some(record) => Some(record.to_string()),
                None => error.as_ref().map(AuthError::to_string),
            },
            issuer: Some(binding.issuer.clone()),
            client_id: Some(binding.client_id.clone()),
            resource: binding.resource.clone(),
            audience: binding.audience.clone(),
            store,
            refreshing: lane.is_renewing(),
            last_refresh: last_refresh(&view, engine.inner().now()),
            retry_after_s: retry_after(engine, &view),
            clock_skew_s: engine.skew().offset().map(seconds),
            relaxations: relaxations_of(
                &binding.registry_url,
                Some(&binding.issuer),
                binding.allow_private_ip,
            ),
            ..Self::anonymous()
        };
        report.scopes.requested.clone_from(&binding.scopes);
        report.next_step = match error {
            Some(AuthError::LoginRequired {
                reason: LoginReason::ScopeInVain,
            }) => Some("thv doctor".into()),
            _ => next_step(report.state),
        };
        let vault = engine.vault().clone();
        let queued = blocking(move || vault.unrevoked())
            .await
            .unwrap_or_default();
        report.queued_revocations = (!queued.is_empty()).then_some(queued.len());
        let (vault, bound) = (engine.vault().clone(), binding.clone());
        let wanted = blocking(move || vault.wanted_scopes(&bound)).await;
        report.scopes.wanted = wanted.unwrap_or_default();
        if let Some(grant) = view.grant() {
            report.add(engine, &binding.registry_url, grant);
        }
        report
    }

    /// The same report with the rules that hold for logins.
    #[must_use]
    pub(crate) fn with_rules(mut self, rules: &LoginRules) -> Self {
        self.rules = Some(ReportedRules {
            strict: rules.strict,
            relaxed: rules.relaxations.iter().map(|rule| rule.as_str()).collect(),
            dpop: rules.dpop.as_str(),
        });
        self
    }

    /// The same report with a login that is running.
    #[must_use]
    pub fn with_pending_login(mut self, pending: Option<PendingLogin>) -> Self {
        self.pending_login = pending;
        self
    }

    /// The same report with what the registry says to the current token.
    #[must_use]
    pub fn with_live(mut self, live: LiveCheck) -> Self {
        match live.result {
            LiveResult::Refused => {
                if let Some((reason, _)) = &self.if_refused {
                    self.refused(*reason);
                }
                self.next_step = self.step_if_refused();
            }
            LiveResult::Forbidden | LiveResult::Unreachable => {
                self.next_step = Some("thv doctor".into());
            }
            LiveResult::Accepted | LiveResult::Unclear | LiveResult::NoToken => {}
        }
        self.live = Some(live);
        self
    }

    /// Takes in that the registry refuses what looks good here.
    pub fn refused(&mut self, reason: LoginReason) {
        self.state = AuthState::LoginRequired;
        self.reason = Some(reason.as_str());
        self.detail = Some(reason.to_string());
        self.next_step = self.step_if_refused();
    }

    fn step_if_refused(&self) -> Option<Cow<'static, str>> {
        let mend = self.if_refused.as_ref();
        let mend = mend.map(|(_, step)| Cow::from(step.clone()));
        mend.or_else(|| next_step(AuthState::LoginRequired))
    }

    /// The same report with the choice that it is about.
    #[must_use]
    pub(crate) fn with_credential(mut self, choice: Choice) -> Self {
        self.credential = Some(ReportedCredential {
            way: choice.way,
            kind: choice.kind,
            why: choice.why,
            passed_over: choice.passed_over,
        });
        self
    }

    fn add(&mut self, engine: &RefreshEngine, registry: &Url, grant: &Grant) {
        let offset = engine.skew().offset().unwrap_or(grant.clock_offset);
        self.account = grant.account.as_ref().map(|account| ReportedAccount {
            sub: account.sub.clone(),
            name: account.name.clone(),
            email: account.email.clone(),
        });
        self.scopes.granted.clone_from(&grant.scopes);
        self.scopes.unrequested = unrequested_scopes(&self.scopes.requested, &grant.scopes);
        self.source = Some(grant.origin);
        self.token_type = Some(grant.token_type.clone());
        self.expires_at = grant.expires_at.map(|expiry| shifted(expiry, -offset));
        self.received_at = Some(shifted(grant.received_at, -offset));
        for relaxation in grant.pin.iter().flat_map(Pin::relaxations) {
            self.relaxations.push(relaxation.as_str());
        }
        let takes_bearer = engine.inner().servers.takes_bearer(registry);
        if grant.proof_key.is_some() && (!grant.is_bound() || takes_bearer) {
            self.relaxations
                .push(Relaxation::BearerDespiteDpop.as_str());
        }
        self.refreshable = grant.refresh_token.is_some() && grant.dead.is_none();
        if self.refreshable && engine.renews_ahead() {
            let due = engine.inner().renewal_due(grant);
            self.next_refresh_at = due.map(|due| shifted(due, -offset));
        }
        self.refresh_outcome_unknown_since = grant
            .intent
            .as_ref()
            .filter(|_| grant.has_unknown_outcome())
            .map(|intent| intent.at);
        if self.clock_skew_s.is_none() {
            self.clock_skew_s = Some(seconds(grant.clock_offset));
        }
    }
}

/// What a person types in this state.
fn next_step(state: AuthState) -> Option<Cow<'static, str>> {
    let step = match state {
        AuthState::LoginRequired => "thv registry login",
        AuthState::ProviderUnavailable | AuthState::CredentialUnusable => "thv doctor",
        AuthState::StoreUnavailable => "thv secret status",
        AuthState::None | AuthState::Authenticated | AuthState::Ready => return None,
    };
    Some(step.into())
}

impl LiveCheck {
    /// There is nothing to show to the registry.
    pub fn no_token() -> Self {
        Self {
            result: LiveResult::NoToken,
            status: None,
            detail: None,
        }
    }

    /// The same, for a reason.
    pub(crate) fn no_token_because(detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::no_token()
        }
    }

    /// What an answer means.
    pub fn of(answer: &Result<Reply, HttpError>) -> Self {
        let (result, status, detail) = match answer {
            Ok(reply) => {
                let status = reply.status.as_u16();
                let detail = proof_fault(reply);
                let result = match status {
                    _ if detail.is_some() => LiveResult::Unclear,
                    200..=299 => LiveResult::Accepted,
                    401 => LiveResult::Refused,
                    403 => LiveResult::Forbidden,
                    _ => LiveResult::Unclear,
                };
                (result, Some(status), detail)
            }
            Err(error) => (LiveResult::Unreachable, None, Some(error.to_string())),
        };
        Self {
            result,
            status,
            detail,
        }
    }
}

/// Rounded to whole seconds.
fn seconds(duration: SignedDuration) -> i64 {
    let half = if duration.is_negative() { -500 } else { 500 };
    duration
        .saturating_add(SignedDuration::from_millis(half))
        .as_secs()
}

/// What a read would meet now.
fn current_error(
    engine: &RefreshEngine,
    view: &View,
    needed: Option<LoginReason>,
) -> Option<AuthError> {
    if let Some(reason) = needed {
        return Some(AuthError::LoginRequired { reason });
    }
    if let Some(error) = view.absence() {
        return Some(error);
    }
    let grant = view.grant()?;
    let is_due = engine.inner().need(grant) == Need::Now && !engine.inner().is_usable(grant);
    view.failure
        .as_ref()
        .filter(|_| is_due)
        .map(|failure| failure.error.clone())
}

fn state(view: &View, error: Option<&AuthError>) -> AuthState {
    match error {
        Some(AuthError::Unreachable { .. }) => AuthState::ProviderUnavailable,
        Some(AuthError::Store { .. }) => AuthState::StoreUnavailable,
        Some(AuthError::Unusable { .. }) => AuthState::CredentialUnusable,
        None if view.grant().is_some() => AuthState::Authenticated,
        Some(AuthError::LoginRequired { .. }) | None => AuthState::LoginRequired,
    }
}

fn last_refresh(view: &View, now: Timestamp) -> Option<ReportedRefresh> {
    let ours = view
        .last_refresh
        .as_ref()
        .map(|last| (last.at, last.result));
    let stored = view.grant().and_then(|grant| grant.last_renewal());
    latest(ours, stored, now).map(|(at, result)| ReportedRefresh { at, result })
}

/// The later of the two. A stored time that is to come was written by a clock that was wrong, and would hide ours until then.
fn latest<T>(
    ours: Option<(Timestamp, T)>,
    stored: Option<(Timestamp, T)>,
    now: Timestamp,
) -> Option<(Timestamp, T)> {
    let stored = stored.filter(|(at, _)| *at <= now);
    ours.into_iter().chain(stored).max_by_key(|(at, _)| *at)
}

fn retry_after(engine: &RefreshEngine, view: &View) -> Option<u64> {
    let now = engine.inner().monotonic();
    let left = view.failure.as_ref()?.retry_at.checked_sub(now)?;
    (left > Duration::ZERO).then(|| left.as_secs().max(1))
}

pub(crate) fn relaxations_of(
    registry: &Url,
    issuer: Option<&str>,
    allow_private_ip: bool,
) -> Vec<&'static str> {
    let plain = |url: &Url| url.scheme() == "http";
    let mut relaxations = Vec::new();
    if allow_private_ip {
        relaxations.push("private_addresses_allowed");
    }
    if plain(registry) {
        relaxations.push("registry_over_plain_http");
    }
    if issuer
        .and_then(|issuer| Url::parse(issuer).ok())
        .is_some_and(|issuer| plain(&issuer))
    {
        relaxations.push("issuer_over_plain_http");
    }
    relaxations
}

pub(crate) async fn store_report(engine: &RefreshEngine) -> ReportedStore {
    let vault = engine.vault().clone();
    let (opened, described) = blocking(move || (vault.store_kind(), vault.describe_store())).await;
    let mut report = match opened {
        Ok(kind) => ReportedStore {
            kind: Some(StoreKind::as_str(kind)),
            usable: true,
            ..ReportedStore::default()
        },
        Err(error) => ReportedStore {
            problem: Some(error.to_string()),
            ..ReportedStore::default()
        },
    };
    if let Some(described) = described {
        report.file = described.file.map(|file| file.display().to_string());
        report.key = described.key.map(|key| key.describe());
        report.why = described.why.map(Why::describe);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_130_a_stored_renewal_that_is_to_come_hides_none_of_ours() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let one = |second, who| Some((at(second), who));
        for (ours, stored, expected) in [
            (one(10, "ours"), one(20, "stored"), one(20, "stored")),
            (one(30, "ours"), one(20, "stored"), one(30, "ours")),
            (one(10, "ours"), one(41, "stored"), one(10, "ours")),
            (None, one(40, "stored"), one(40, "stored")),
            (None, one(41, "stored"), None),
        ] {
            assert_eq!(
                latest(ours, stored, at(40)),
                expected,
                "{ours:?} {stored:?}"
            );
        }
    }

    #[test]
    fn an_answer_is_a_verdict_on_the_token_only_where_it_speaks_of_it() {
        let reply = |status| {
            Ok(Reply {
                status: http::StatusCode::from_u16(status).expect("a status"),
                headers: http::HeaderMap::new(),
                body: bytes::Bytes::new(),
                url: url::Url::parse("https://registry.example").expect("a url"),
            })
        };
        for (answer, result) in [
            (reply(200), LiveResult::Accepted),
            (reply(401), LiveResult::Refused),
            (reply(403), LiveResult::Forbidden),
            (reply(500), LiveResult::Unclear),
            (reply(404), LiveResult::Unclear),
            (
                Err(HttpError::TooLarge { limit: 1 }),
                LiveResult::Unreachable,
            ),
        ] {
            let live = LiveCheck::of(&answer);
            assert_eq!(live.result, result);
            assert_eq!(live.status.is_some(), answer.is_ok());
        }
    }
}
