//! `thv registry login`: settles which registry and which client are meant, writes that when it is
//! new, and lets a person log in, in a browser here or elsewhere. The login itself is the auth crate's; what is done when
//! only the registry's URL is known is in `login_search`.

mod elsewhere;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thv_auth::login::{DEFAULT_CALLBACK_PORT, LoginDone, LoginHow, Prompter};
use thv_auth::machine::Way;
use thv_auth::machine::manage::kept_token;
use thv_auth::oauth::Account;
use thv_auth::opener::Opener;
use thv_auth::relaxation::Relaxation;
use thv_auth::rules::{Configured, RulesChange};
use thv_auth::{Auth, AuthFailure, LoginReason, SearchError};
use thv_config::world::World;
use thv_config::{Config, OAuthSettings, RegistrySource};
use thv_registry::{LoginRequest, Revalidation, SourceRequest};
use thv_secrets::Secrets;
use thv_secrets::select::KeySource;
use tokio::sync::mpsc;
use url::Url;

use crate::cli::LoginArgs;
use crate::failure::CommandError;
use crate::input;
use crate::opener::Browser;
use crate::output::{NOTICE, Output};
use crate::wire_up::{self, Catalogs};

use super::login_search::{self, Searched};

/// What a login is for, of flags and configuration together: flags win.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// The configuration says all of it already.
    AsConfigured,
    /// This is to be written first.
    Set(SourceRequest, LoginRequest),
    /// Issuer or client have to be found out.
    Search(Searched),
}

pub(super) async fn run(
    args: &LoginArgs,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    if args.with_token {
        return with_token(args, world, output).await;
    }
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let config = catalogs.store.load_async().await?;
    let before = key_file(&catalogs.secrets).await;
    let mut plan = plan(args, &config)?;
    if says_no_issuer(&plan, args) && has_other_issuer(&catalogs).await {
        plan = search_again(args, &config).unwrap_or(plan);
    }
    let mut how = LoginHow {
        change: rules_change(args),
        switch_account: args.switch_account,
        ..LoginHow::default()
    };
    let relaxations = || args.relax.iter().copied().collect();
    let mut configured = None;
    let is_found = matches!(plan, Plan::Search(_));
    let change = match plan {
        Plan::AsConfigured => None,
        Plan::Set(request, login) => {
            // Who names what is configured already, or another port or scope, changes no rule.
            if is_another_login(&request, &login, &config) {
                configured = Some(if args.strict {
                    Configured::Strictly(relaxations())
                } else {
                    Configured::ByHand
                });
            }
            Some((request, login))
        }
        Plan::Search(searched) => {
            let found = login_search::run(&searched, args, &catalogs, world, output).await;
            if found.is_err()
                && configured_url(&config).is_some_and(|url| *url == searched.registry_url)
                && let Some(used) = catalogs.auth.credential_in_use().await
            {
                output.remark_styled(NOTICE, "Note", &format!("{used}."));
            }
            let found = found?;
            how.metadata_url = found.1;
            configured = Some(Configured::Strictly(relaxations()));
            if is_only_client_new(&searched, &found.0, args, &config) {
                // The client from before stays configured until somebody has logged in as the new one.
                how.client_id = Some(found.0.client_id);
                None
            } else {
                Some((searched.request, found.0))
            }
        }
    };
    if let Some((request, login)) = &change {
        let change = catalogs.registries.set(request, Some(login));
        super::patiently(
            "Checking registry and issuer",
            world,
            output,
            Box::pin(change),
        )
        .await?;
        if let Some(configured) = configured {
            catalogs.auth.note_configured(configured).await?;
        }
    }
    let by = prompter();
    if by == Prompter::Person {
        catalogs.auth.person_is_here().await;
    }
    let shown = Shown::of(&catalogs.store.load_async().await?);
    let done = if args.elsewhere.is_meant() {
        elsewhere::log_in(args, how, by, &shown, &catalogs, world, output).await
    } else {
        log_in(args, how, by, &shown, &catalogs, world, output).await
    };
    catalogs.auth.finish().await;
    if done.is_err()
        && let Some((request, login)) = &change
    {
        if is_another_login(request, login, &config) {
            remark_what_stays(request, &config, output);
        } else if let Some(port) = login.callback_port {
            remark_port(port, &config, output);
        }
    }
    let done = done?;
    output.remark(&words(&done));
    catalogs.auth.give_back_queued().await;
    remark_what_counts(is_found, &catalogs, output).await;
    if before.is_none() {
        remark_new_key(&catalogs, output).await;
    }
    if change.is_some() {
        output.remark("`thv registry list` shows what the registry offers.");
    }
    Ok(())
}

/// Says what a successful login does not: which rules were not applied, and whether it counts at all.
async fn remark_what_counts(is_found: bool, catalogs: &Catalogs, output: &mut Output) {
    let report = catalogs.auth.report().await.ok();
    if let Some(report) = &report
        && !is_found
    {
        remark_relaxed(&report.relaxations, output);
    }
    let used = report.and_then(|report| report.credential);
    if let Some(used) = used.filter(|used| used.way != Way::Login) {
        let note = format!("the registry is not read with this login: {}.", used.why);
        output.remark_styled(NOTICE, "Note", &note);
    }
}

/// Says where the key is that this login has set up.
async fn remark_new_key(catalogs: &Catalogs, output: &mut Output) {
    if let Some(path) = key_file(&catalogs.secrets).await {
        output.remark_styled(
            NOTICE,
            "Note",
            &format!(
                "no keyring keeps the key of the secret store; it is in {}, readable by you alone.",
                path.display()
            ),
        );
    }
}

/// Who starts the login: a person where a terminal is, else a program that runs this command.
fn prompter() -> Prompter {
    if io::stdin().is_terminal() || io::stderr().is_terminal() {
        Prompter::Person
    } else {
        Prompter::Program
    }
}

/// Keeps a token that somebody hands over, in place of a login. It is read before anything is changed.
async fn with_token(
    args: &LoginArgs,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let token = input::secret("Token of the registry: ")?;
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let config = catalogs.store.load_async().await?;
    let is_another = args
        .url
        .as_ref()
        .is_some_and(|url| configured_url(&config) != Some(url));
    let Some(request) = request(args, &config, is_another) else {
        return Err(CommandError::LoginIncomplete {
            local_file: local_file(args, &config),
            missing: "--registry".to_owned(),
        });
    };
    if args.registry.is_some() || is_another {
        let change = catalogs.registries.set(&request, None);
        super::patiently("Checking the registry", world, output, Box::pin(change)).await?;
    }
    let wanted = kept_token(args.header.clone());
    catalogs.auth.set_credential(wanted, Some(token)).await?;
    output.remark("The token is kept, and the registry is read with it. `thv registry status` shows whether it works; `thv registry logout` forgets it.");
    Ok(())
}

/// The file that the key of the secret store comes from, if it comes from one.
async fn key_file(secrets: &Secrets) -> Option<PathBuf> {
    let secrets = secrets.clone();
    let described = tokio::task::spawn_blocking(move || secrets.describe()).await;
    match described.ok()?.ok()?.key? {
        KeySource::KeyFile(path) => Some(path),
        _ => None,
    }
}

/// What a person has to see beside a code or an address: which registry it is for, and whose page it leads to.
struct Shown {
    registry: String,
    issuer: String,
}

impl Shown {
    fn of(config: &Config) -> Self {
        let oauth = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
        Self {
            registry: configured_url(config).cloned().unwrap_or_default(),
            issuer: oauth.map(|oauth| oauth.issuer.clone()).unwrap_or_default(),
        }
    }

    /// Where to log in, and to what.
    fn at(&self, url: &str) -> String {
        format!(
            "Log in at:\n\n  {url}\n\nThis is for the registry {} with the issuer {}.\n\n",
            self.registry, self.issuer
        )
    }
}

/// A registry that is named keeps the login that is configured where it is the configured one, or where `--registry` named it, as
/// the Go program has it. What is missing then is looked for.
fn plan(args: &LoginArgs, config: &Config) -> Result<Plan, CommandError> {
    let oauth = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
    let is_another = args
        .url
        .as_ref()
        .is_some_and(|url| configured_url(config) != Some(url));
    let before = oauth.filter(|_| !is_another);
    let of = |flag: &Option<String>, known: fn(&OAuthSettings) -> &String| {
        let known = before.map(known).filter(|known| !known.is_empty());
        flag.clone().or_else(|| known.cloned())
    };
    let issuer = of(&args.auth.issuer, |oauth| &oauth.issuer);
    // A client is known at its issuer alone.
    let is_its_issuer = before.is_none_or(|oauth| issuer.as_ref() == Some(&oauth.issuer));
    let client_id = of(&args.auth.client_id, |oauth| &oauth.client_id)
        .filter(|_| is_its_issuer || args.auth.client_id.is_some());
    let request = request(args, config, is_another);
    let is_named = args.registry.is_some() || is_another;
    let lacks_registry = request.is_none();
    if let (Some(request), Some(issuer), Some(client_id), false) =
        (&request, &issuer, &client_id, args.register)
    {
        if !is_named && args.auth.is_empty() && args.callback_port.is_none() {
            return Ok(Plan::AsConfigured);
        }
        let login = LoginRequest {
            issuer: issuer.clone(),
            client_id: client_id.clone(),
            audience: args.auth.audience.clone(),
            scopes: (!args.auth.scopes.is_empty()).then(|| args.auth.scopes.clone()),
            callback_port: args.callback_port,
        };
        return Ok(Plan::Set(request.clone(), login));
    }
    if let Some(request) = request
        && let Some((registry_url, allow_private_ip)) = address(&request)
        && let Some(first_request) = thv_registry::first_request(&registry_url)
    {
        let known = before.filter(|_| !is_named);
        let client_of = args.auth.client_id.is_none();
        let client_of = before.filter(|_| client_of);
        return Ok(Plan::Search(Searched {
            is_known: known.is_some_and(|oauth| Some(&oauth.issuer) == issuer.as_ref()),
            callback_port: args
                .callback_port
                .or_else(|| known.and_then(|oauth| oauth.callback_port)),
            client_id: client_id.filter(|_| !args.register),
            client_of: client_of.map(|oauth| oauth.issuer.clone()),
            changed_from: None,
            request,
            registry_url,
            allow_private_ip,
            first_request,
            issuer,
        }));
    }
    let meant = args.url.as_ref().or(args.registry.as_ref());
    if let Some(url) = meant.and_then(|text| unusable(text)) {
        return Err(SearchError::BadUrl {
            url,
            cause: "it is not an http or https URL".to_owned(),
        }
        .into());
    }
    let needed = [
        (lacks_registry, "--registry"),
        (issuer.is_none(), "--issuer"),
        (client_id.is_none(), "--client-id"),
    ];
    let missing: Vec<&str> = needed
        .into_iter()
        .filter_map(|(is_missing, flag)| is_missing.then_some(flag))
        .collect();
    Err(CommandError::LoginIncomplete {
        local_file: local_file(args, config),
        missing: missing.join(", "),
    })
}

/// What is said of an address with a scheme that no registry has. Anything without `//` may be a path.
fn unusable(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(Url::has_authority)?;
    let is_web = matches!(url.scheme(), "http" | "https");
    (!is_web).then(|| thv_http::display_url(&url))
}

/// What the person settles with this login.
fn rules_change(args: &LoginArgs) -> RulesChange {
    RulesChange {
        strict: args.strict,
        relaxed: args.relax.iter().copied().collect(),
        dpop: args.dpop,
    }
}

/// Whether nothing but the configuration says at which issuer to log in.
fn says_no_issuer(plan: &Plan, args: &LoginArgs) -> bool {
    let is_as_configured = match plan {
        Plan::AsConfigured => true,
        Plan::Set(..) => args.registry.is_none(),
        Plan::Search(_) => false,
    };
    is_as_configured && args.auth.issuer.is_none() && args.auth.client_id.is_none()
}

/// Names the rules that were not applied to a login whose issuer and client somebody named.
fn remark_relaxed(relaxations: &[&str], output: &mut Output) {
    let rules = relaxations
        .iter()
        .filter_map(|name| Relaxation::chosen(name).ok());
    login_search::show_relaxed(&rules.collect(), output);
}

/// Says that a login which came to nothing has left its registry configured, as the Go program does.
fn remark_what_stays(request: &SourceRequest, before: &Config, output: &mut Output) {
    let Some((url, _)) = address(request) else {
        return;
    };
    let replaced = configured_url(before).filter(|before| **before != url);
    let back = match replaced {
        Some(before) => {
            format!(", in place of {before}; `thv config set-registry {before}` goes back to that")
        }
        None => String::new(),
    };
    let text = format!(
        "{url} and its login are configured now{back}. `thv registry login` tries the login again."
    );
    output.remark_styled(NOTICE, "Note", &text);
}

/// Says that a port which was tried stays configured: a client may be registered with the one from before only.
fn remark_port(tried: u16, before: &Config, output: &mut Output) {
    let oauth = before.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
    let port = oauth.and_then(|oauth| oauth.callback_port);
    let port = port.unwrap_or(DEFAULT_CALLBACK_PORT);
    if tried == port {
        return;
    }
    let text = format!(
        "later logins use port {tried}, too; `thv registry login --callback-port {port}` goes back to the one from before."
    );
    output.remark_styled(NOTICE, "Note", &text);
}

/// Whether that is another registry, issuer or client than is configured.
fn is_another_login(request: &SourceRequest, login: &LoginRequest, before: &Config) -> bool {
    let url = address(request).map(|(url, _)| url);
    let oauth = before.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
    let is_same = oauth
        .is_some_and(|oauth| oauth.issuer == login.issuer && oauth.client_id == login.client_id);
    !is_same || configured_url(before) != url.as_ref()
}

/// Whether the login ended because the registry or its issuer is not as it was: then the registry is asked anew where to log in.
async fn has_other_issuer(catalogs: &Catalogs) -> bool {
    let report = catalogs.auth.report().await;
    report.is_ok_and(|report| report.reason == Some(LoginReason::IssuerChanged.as_str()))
}

/// The plan for a registry of which nothing but its URL is believed any more.
fn search_again(args: &LoginArgs, config: &Config) -> Option<Plan> {
    let oauth = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref())?;
    let request = request(args, config, false)?;
    let (registry_url, allow_private_ip) = address(&request)?;
    Some(Plan::Search(Searched {
        first_request: thv_registry::first_request(&registry_url)?,
        is_known: false,
        callback_port: args.callback_port.or(oauth.callback_port),
        client_id: Some(oauth.client_id.clone()),
        client_of: Some(oauth.issuer.clone()),
        changed_from: Some(oauth.issuer.clone()),
        issuer: None,
        request,
        registry_url,
        allow_private_ip,
    }))
}

/// Whether nothing but the client is to be another than it is configured.
fn is_only_client_new(
    searched: &Searched,
    login: &LoginRequest,
    args: &LoginArgs,
    config: &Config,
) -> bool {
    let oauth = config.auth.as_ref().and_then(|auth| auth.oauth.as_ref());
    let is_same = oauth.is_some_and(|oauth| oauth.issuer == login.issuer);
    let says_more = !args.auth.is_empty() || args.callback_port.is_some();
    args.register
        && searched.is_known
        && is_same
        && !says_more
        && searched.allow_private_ip == config.allow_private_ip
}

fn configured_url(config: &Config) -> Option<&String> {
    match &config.source {
        RegistrySource::Url(url) | RegistrySource::Api(url) => Some(url),
        RegistrySource::BuiltIn | RegistrySource::File(_) => None,
    }
}

/// The registry's address, and whether it may be a private one.
fn address(request: &SourceRequest) -> Option<(String, bool)> {
    match request {
        SourceRequest::Detect {
            input: url,
            allow_private_ip,
        }
        | SourceRequest::Url {
            url,
            allow_private_ip,
        }
        | SourceRequest::Api {
            url,
            allow_private_ip,
        } => Some((url.clone(), *allow_private_ip)),
        SourceRequest::BuiltIn | SourceRequest::File { .. } => None,
    }
}

/// The path of a registry that takes no login, when that is the one that is meant.
fn local_file(args: &LoginArgs, config: &Config) -> Option<String> {
    match &config.source {
        RegistrySource::File(path) if args.registry.is_none() && args.url.is_none() => {
            Some(path.display().to_string())
        }
        _ => None,
    }
}

fn request(args: &LoginArgs, config: &Config, is_another: bool) -> Option<SourceRequest> {
    let another = args.url.as_ref().filter(|_| is_another);
    if let Some(registry) = args.registry.as_ref().or(another) {
        return Some(SourceRequest::Detect {
            input: registry.clone(),
            allow_private_ip: args.allow_private_ip,
        });
    }
    let allow_private_ip = config.allow_private_ip || args.allow_private_ip;
    match &config.source {
        RegistrySource::Url(url) => Some(SourceRequest::Url {
            url: url.clone(),
            allow_private_ip,
        }),
        RegistrySource::Api(url) => Some(SourceRequest::Api {
            url: url.clone(),
            allow_private_ip,
        }),
        RegistrySource::BuiltIn | RegistrySource::File(_) => None,
    }
}

/// Gives a login up, unless somebody has answered it already: an answer can be used once, and what it brings would be lost. Then
/// the end is waited for, which comes as soon as the identity provider's, or when the person interrupts once more.
async fn give_up(
    why: CommandError,
    ended: impl Future<Output = Result<LoginDone, AuthFailure>>,
    auth: &Auth,
    output: &mut Output,
) -> Result<LoginDone, CommandError> {
    if !auth.is_completing().await {
        return Err(why);
    }
    output.remark("Somebody has logged in just now: the login is stored before this command ends (Ctrl-C again loses it) …");
    tokio::select! {
        done = ended => Ok(done?),
        _ = tokio::signal::ctrl_c() => Err(CommandError::Interrupted),
    }
}

/// Waits for the login, shows the address to log in at, and gives up at the time limit or when
/// the person interrupts; the port is free again then.
async fn log_in(
    args: &LoginArgs,
    how: LoginHow,
    by: Prompter,
    shown: &Shown,
    catalogs: &Catalogs,
    world: &World,
    output: &mut Output,
) -> Result<LoginDone, CommandError> {
    let (addresses, mut announced) = mpsc::unbounded_channel();
    let browser = Browser::new(&world.env);
    let opener = browser
        .has_display()
        .then(|| Arc::new(browser) as Arc<dyn Opener>);
    let unopened = if opener.is_some() {
        ""
    } else {
        "No browser was opened, because there is no display here. "
    };
    let how = LoginHow {
        opener,
        announce: Some(Arc::new(move |url| {
            // Nobody listens any more only when the login is over.
            let _ = addresses.send(url.to_string());
        })),
        ..how
    };
    let limit = Duration::from_secs(args.timeout);
    let login = catalogs.auth.login(how, by);
    tokio::pin!(login);
    let deadline = world.clock.sleep(limit);
    tokio::pin!(deadline);
    let why = loop {
        tokio::select! {
            done = &mut login => return Ok(done?),
            Some(url) = announced.recv() => {
                let at = shown.at(&url);
                output.remark(&format!("{unopened}{at}Waiting for the browser to come back (Ctrl-C gives up; for a browser on another machine: --no-browser or --device) …"));
            }
            () = &mut deadline => break CommandError::LoginTimedOut { limit },
            _ = tokio::signal::ctrl_c() => break CommandError::Interrupted,
        }
    };
    give_up(why, login, &catalogs.auth, output).await
}

fn words(done: &LoginDone) -> String {
    let who = done.account.as_ref().map(Account::shown);
    let before = done.replaced_account.as_ref().map(Account::shown);
    let mut words = match (who, before) {
        (Some(who), Some(before)) => format!("Logged in as {who}, in place of {before}."),
        (Some(who), None) => format!("Logged in as {who}."),
        (None, _) => "Logged in.".to_owned(),
    };
    if !done.unrequested_scopes.is_empty() {
        let more = done.unrequested_scopes.join(" ");
        words += " The identity provider has granted more than was asked for: ";
        words += &more;
        words.push('.');
    }
    if !done.refreshable {
        words.push_str(
            " The identity provider gave no refresh token: you will have to log in again when the access token expires.",
        );
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use thv_config::RegistryAuth;

    use super::*;
    use crate::cli::{Cli, Command, RegistryCommand};

    fn args(line: &[&str]) -> LoginArgs {
        let line = ["thv", "registry", "login"].iter().chain(line);
        match Cli::try_parse_from(line).unwrap().command {
            Some(Command::Registry(RegistryCommand::Login(args))) => args,
            other => panic!("parsed as {other:?}"),
        }
    }

    fn config(source: RegistrySource, login: bool) -> Config {
        let oauth = OAuthSettings {
            issuer: "https://id.example".to_owned(),
            client_id: "thv".to_owned(),
            audience: None,
            scopes: Vec::new(),
            callback_port: None,
            cached_refresh_token_ref: None,
            cached_token_expiry: None,
        };
        Config {
            source,
            auth: login.then(|| RegistryAuth {
                kind: "oauth".to_owned(),
                oauth: Some(oauth),
            }),
            ..Config::default()
        }
    }

    fn api() -> RegistrySource {
        RegistrySource::Api("https://r.example".to_owned())
    }

    #[test]
    fn a_configured_login_needs_no_flags() {
        for line in [&[][..], &["https://r.example"]] {
            let plan = plan(&args(line), &config(api(), true)).unwrap();
            assert_eq!(plan, Plan::AsConfigured, "{line:?}");
        }
    }

    #[test]
    fn w17_another_registry_keeps_the_issuer_that_is_configured() {
        let flags = args(&["--registry", "https://other.example"]);
        match plan(&flags, &config(api(), true)).unwrap() {
            Plan::Set(_, login) => assert_eq!(login.issuer, "https://id.example"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn w17_a_local_file_is_no_hindrance_when_a_registry_is_named() {
        let file = RegistrySource::File("/a/b.json".into());
        let flags = [
            "--registry",
            "https://r.example",
            "--issuer",
            "https://id.example",
            "--client-id",
            "thv",
        ];
        assert!(plan(&args(&flags), &config(file.clone(), false)).is_ok());
        let error = plan(&args(&[]), &config(file, false)).unwrap_err();
        assert!(error.to_string().contains("/a/b.json"), "{error}");
    }

    #[test]
    fn w17_all_that_is_missing_is_said_at_once() {
        let issuer_only = args(&["--issuer", "https://id.example"]);
        let error = plan(&issuer_only, &config(RegistrySource::BuiltIn, false)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("--registry, --client-id"), "{text}");
    }

    fn searched(line: &[&str], config: &Config) -> Searched {
        match plan(&args(line), config).unwrap() {
            Plan::Search(searched) => searched,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn what_a_registry_can_tell_is_asked_of_it() {
        let bare = searched(
            &["https://other.example/x", "-p"],
            &config(RegistrySource::BuiltIn, false),
        );
        assert_eq!(
            bare.first_request.as_str(),
            "https://other.example/x/v0.1/servers?limit=1&version=latest"
        );
        assert_eq!((bare.issuer, bare.client_id), (None, None));
        assert!(bare.allow_private_ip && !bare.is_known);
        let other = searched(&["https://other.example"], &config(api(), true));
        assert_eq!((other.issuer, other.client_id), (None, None));
        let named = searched(&["--issuer", "https://id.example"], &config(api(), false));
        assert_eq!(named.issuer.as_deref(), Some("https://id.example"));
        let anew = searched(&["--register"], &config(api(), true));
        assert_eq!(anew.issuer.as_deref(), Some("https://id.example"));
        assert!(anew.client_id.is_none() && anew.is_known);
    }

    #[test]
    fn a_path_is_no_registry_to_log_in_to() {
        let error = plan(&args(&["./servers.json"]), &config(api(), true)).unwrap_err();
        assert!(error.to_string().contains("--issuer"), "{error}");
    }

    #[test]
    fn an_address_that_is_no_registrys_is_told_and_not_what_else_is_missing() {
        for line in [
            &["ftp://r.example/x"][..],
            &["--registry", "ftp://r.example/x"],
        ] {
            let error = plan(&args(line), &config(api(), false)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "`ftp://r.example/x` is no registry's URL: it is not an http or https URL"
            );
        }
    }
}
