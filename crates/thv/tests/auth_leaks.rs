//! Nothing secret is ever written where it can be read: logs at their most verbose, answers, configuration, caches, stores,
//! command lines and environments are searched for everything that passed the provider.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use auth_kit::{
    AUTH, DEFAULT, LOGIN, LOGOUT, PASSWORD, REFRESH, STANDARD, Stage, THV, files_below,
};
use serde_json::json;
use thv_testkit::binary::{Server, cli_with};
use thv_testkit::browse::browse;
use thv_testkit::client::Address;
use thv_testkit::jwt::SigningKey;
use thv_testkit::provider::{Client, Fault, Rule, Twist, User, paths};
use thv_testkit::registry;

/// Everything that was written or said, by name.
#[derive(Default)]
struct Written(Vec<(String, Vec<u8>)>);

impl Written {
    fn add(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        self.0.push((name.to_owned(), bytes.as_ref().to_owned()));
    }

    async fn ask(&mut self, server: &Server, method: &str, path: &str) {
        let answer = match method {
            "GET" => server.get(path).await,
            _ => server.post(path, &json!({})).await,
        };
        self.add(
            &format!("{method} {path}"),
            format!("{answer:?}\n{}", answer.text()),
        );
    }

    /// Reads what a process shows of itself. The password of the store is in the environment because that is where this
    /// user put it; nothing else may be.
    fn look_at(&mut self, pid: u32) {
        self.add(
            "cmdline",
            std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default(),
        );
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environ = String::from_utf8_lossy(&environ).replace(PASSWORD, "");
        self.add("environ", environ);
    }

    /// Fails for every one of `secrets` that is somewhere, as it is or percent-encoded or in base64 of its own.
    fn assert_without(&self, secrets: &[String]) {
        let mut found = Vec::new();
        for (name, bytes) in &self.0 {
            for (index, secret) in secrets.iter().enumerate() {
                for needle in forms(secret) {
                    if contains(bytes, needle.as_bytes()) {
                        found.push(format!(
                            "secret {index} ({} characters) in {name}",
                            secret.len()
                        ));
                    }
                }
            }
        }
        found.dedup();
        assert!(found.is_empty(), "{found:#?}");
    }
}

fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    // The signature of a JWT is as secret as the whole.
    if let Some((_, signature)) = secret.rsplit_once('.') {
        forms.push(signature.to_owned());
    }
    forms.push(thv_testkit::jwt::encode(secret.as_bytes()));
    forms.retain(|form| form.len() >= 16);
    forms
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// The verifier travels only to the token endpoint, which remembers it; states and nonces are in addresses by design, and
/// those are shown to the person.
fn secrets(stage: &Stage) -> Vec<String> {
    let mut secrets = stage.provider.secrets();
    assert!(secrets.len() >= 5, "{} secrets only", secrets.len());
    secrets.push(PASSWORD.to_owned());
    secrets
}

fn debugging(stage: &Stage) -> thv_testkit::binary::Setup {
    stage
        .setup()
        .arg("--debug")
        .env("TOOLHIVE_DEBUG", "true")
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full")
}

#[tokio::test]
async fn nothing_secret_is_written_by_a_server_through_a_whole_life() {
    let stage = Stage::with_tokens_of(2).await;
    let server = debugging(&stage).start().await;
    let mut written = Written::default();
    written.ask(&server, "GET", STANDARD).await;
    let login = stage.start_login(&server).await;
    written.look_at(server.pid());
    written.ask(&server, "GET", AUTH).await;
    let callback = Address::Tcp(([127, 0, 0, 1], stage.port).into());
    for path in ["/callback?code=x&state=y", "/callback?error=z", "/"] {
        written.add(path, format!("{:?}", callback.get(path).await));
    }
    let page = browse(&login.url).await;
    written.add("the callback's page", format!("{:?}", page.answer));
    written.add("the login", format!("{:?}", login.answer().await));
    for path in stage.reads() {
        written.ask(&server, "GET", &path).await;
    }
    auth_kit::reading_until(&server, "two renewals", || stage.refreshes() >= 2).await;
    written.ask(&server, "GET", AUTH).await;
    for fault in [
        registry::Fault::Status(500),
        registry::Fault::Status(401),
        registry::Fault::Html,
        registry::Fault::BadJson,
    ] {
        stage.registry.break_all(fault);
        written.ask(&server, "POST", REFRESH).await;
        written.ask(&server, "GET", STANDARD).await;
        stage.registry.heal();
    }
    written.ask(&server, "POST", REFRESH).await;
    stage.provider.users([User::Denies]);
    written.add(
        "a login refused",
        format!("{:?}", stage.log_in(&server).await),
    );
    let bad_claim = Twist::default().claim("nonce", "another");
    stage
        .provider
        .behave(|behaviour| behaviour.id_token = bad_claim);
    written.add(
        "a bad ID token",
        format!("{:?}", stage.log_in(&server).await),
    );
    stage
        .provider
        .behave(|behaviour| behaviour.id_token = Twist::default());
    stage
        .provider
        .break_with(Rule::always(Fault::CutBody).on(paths::TOKEN).times(1));
    written.add(
        "half an answer",
        format!("{:?}", stage.log_in(&server).await),
    );
    written.add("a login", format!("{:?}", stage.log_in(&server).await));
    stage.provider.revoke_everything();
    auth_kit::reading_until(&server, "the revocation", || {
        stage.provider.requests_for(paths::TOKEN).len() >= 7
    })
    .await;
    written.ask(&server, "POST", REFRESH).await;
    written.ask(&server, "GET", DEFAULT).await;
    written.ask(&server, "GET", AUTH).await;
    written.add("a login", format!("{:?}", stage.log_in(&server).await));
    written.ask(&server, "POST", LOGOUT).await;
    written.ask(&server, "GET", LOGIN).await;
    written.look_at(server.pid());
    written.add("stderr", server.stderr());
    written.add("stdout", server.stdout());
    for (path, bytes) in files_below(stage.home.path()) {
        written.add(&path, bytes);
    }
    assert!(
        server.stderr().len() > 1000,
        "nothing was logged:\n{}",
        server.stderr()
    );
    written.assert_without(&secrets(&stage));
}

#[tokio::test]
async fn nothing_secret_is_written_by_commands() {
    let stage = Stage::with_tokens_of(2).await;
    let mut written = Written::default();
    let running = stage.start_cli(&["--debug", "registry", "login", "--no-browser"]);
    let url = stage.printed_url(&running).await;
    written.look_at(running.pid());
    let page = browse(&url).await;
    written.add("the callback's page", format!("{:?}", page.answer));
    let ran = running.ended().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    written.add("login", ran.transcript());
    stage.until_expired(2).await;
    stage.live_for(300);
    for arguments in [
        vec!["--debug", "registry", "list", "--refresh"],
        vec!["--debug", "registry", "status", "--format", "json"],
        vec!["--debug", "config", "get-registry", "--format", "json"],
        vec!["--debug", "registry", "logout", "--format", "json"],
        vec!["--debug", "registry", "list"],
    ] {
        let ran = stage.cli_with(&arguments, &[("RUST_LOG", "trace")]).await;
        written.add(&arguments.join(" "), ran.transcript());
    }
    stage.provider.users([User::Denies]);
    written.add(
        "a login refused",
        stage.cli_login(&["--debug"]).await.transcript(),
    );
    for (path, bytes) in files_below(stage.home.path()) {
        written.add(&path, bytes);
    }
    assert_eq!(stage.refreshes(), 1);
    written.assert_without(&secrets(&stage));
}

const STATIC_TOKEN: &str = "a-static-token-that-nobody-may-see";
const CLIENT_SECRET: &str = "a-client-secret-that-nobody-may-see";

/// A command with something secret on its standard input.
async fn piped(stage: &Stage, arguments: &[&str], stdin: &str, written: &mut Written) {
    let mut env = stage.env();
    env.push(("RUST_LOG".to_owned(), "trace".to_owned()));
    let env: Vec<(&str, &str)> = env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let arguments = [&["--debug"], arguments].concat();
    let ran = cli_with(THV, &stage.home, &arguments, &env, stdin.as_bytes()).await;
    written.add(&arguments.join(" "), ran.transcript());
}

/// A token that the registry does not take, and settings that quote it where it does not belong.
async fn use_a_token(stage: &Stage, server: &Server, written: &mut Written) {
    let login = ["registry", "login", "--with-token"];
    piped(stage, &login, STATIC_TOKEN, written).await;
    let settings = stage.home.config_file().with_file_name("registries.json");
    auth_kit::reading_until(server, "the token to be refused", || {
        let seen = stage.registry.bearers();
        seen.iter().any(|seen| seen.refused.is_some())
    })
    .await;
    written.ask(server, "GET", AUTH).await;
    written.ask(server, "GET", STANDARD).await;
    written.add("registries.json", std::fs::read(&settings).unwrap());
    let misplaced = json!({"version": 1, "registries": {"default": {"url": stage.registry.url(),
        "credential": {"type": "bearer", "token": STATIC_TOKEN}}}});
    std::fs::write(&settings, misplaced.to_string()).unwrap();
    piped(stage, &["registry", "list", "--refresh"], "", written).await;
    piped(stage, &["registry", "status"], "", written).await;
    written.ask(server, "GET", AUTH).await;
    std::fs::remove_file(&settings).unwrap();
}

/// A client that is taken, meets a provider in trouble, and is refused.
async fn use_a_client(stage: &Stage, server: &Server, written: &mut Written) {
    let (url, issuer) = (stage.registry.url(), stage.provider.issuer());
    let client = |secret: &str| Client::public("ci", &[]).basic(secret);
    stage.provider.register(client(CLIENT_SECRET));
    let mut arguments = vec!["config", "set-registry-credential", "client-credentials"];
    arguments.extend(["--issuer", &issuer, "--client-id", "ci", "--secret-stdin"]);
    arguments.extend(["--resource", &url]);
    piped(stage, &arguments, CLIENT_SECRET, written).await;
    auth_kit::reading_until(server, "two tokens", || {
        stage.provider.token_count("client_credentials") >= 2
    })
    .await;
    written.ask(server, "GET", AUTH).await;
    for fault in [Fault::CutBody, Fault::Garbage, Fault::Html(200)] {
        let once = Rule::always(fault).on(paths::TOKEN).times(1);
        stage.provider.break_with(once);
        piped(stage, &["registry", "list", "--refresh"], "", written).await;
    }
    stage.provider.register(client("another-secret-altogether"));
    piped(stage, &["registry", "list", "--refresh"], "", written).await;
    let status = ["registry", "status", "--format", "json"];
    piped(stage, &status, "", written).await;
    written.ask(server, "POST", REFRESH).await;
}

/// A key with a workload's token that is worth nothing, and a command that says too much. The paths of what is secret by itself.
async fn use_files(stage: &Stage, key: &SigningKey, written: &mut Written) -> [String; 3] {
    let issuer = stage.provider.issuer();
    let robot = Client::public("robot", &[]).key(key.public_jwk());
    stage.provider.register(robot);
    let chatty = format!("#!/bin/sh\necho {STATIC_TOKEN} >&2\necho {STATIC_TOKEN}\n");
    let files = [
        stage.home.write("key.pem", key.private_pem()),
        stage.home.write("workload", STATIC_TOKEN),
        stage.home.write_program("helper", &chatty),
    ];
    let files = files.map(|path| path.display().to_string());
    let [key_file, token_file, helper] = &files;
    let mut arguments = vec!["config", "set-registry-credential", "token-exchange"];
    arguments.extend([
        "--issuer",
        &issuer,
        "--client-id",
        "robot",
        "--private-key",
        key_file,
    ]);
    arguments.extend(["--key-id", key.id(), "--token-file", token_file]);
    piped(stage, &arguments, "", written).await;
    piped(stage, &["registry", "list", "--refresh"], "", written).await;
    let command = ["config", "set-registry-credential", "command", helper];
    piped(stage, &command, "", written).await;
    piped(stage, &["registry", "list", "--refresh"], "", written).await;
    piped(stage, &["registry", "logout"], "", written).await;
    files
}

#[tokio::test]
async fn nothing_secret_is_written_with_credentials_that_need_no_person() {
    let stage = Stage::with_tokens_of(2).await;
    stage.home.use_api(&stage.registry.url());
    let mut written = Written::default();
    let server = debugging(&stage).start().await;
    let key = SigningKey::generate("robot-1");
    use_a_token(&stage, &server, &mut written).await;
    use_a_client(&stage, &server, &mut written).await;
    let files = use_files(&stage, &key, &mut written).await;
    written.look_at(server.pid());
    written.add("stderr", server.stderr());
    written.add("stdout", server.stdout());
    for (path, bytes) in files_below(stage.home.path()) {
        if !files.contains(&path) {
            written.add(&path, bytes);
        }
    }
    for said in [
        "registry_rejected_token",
        "the secret itself",
        "invalid_client",
        "invalid_grant",
        "it is not JSON",
    ] {
        let is_said = |(_, bytes): &(String, Vec<u8>)| contains(bytes, said.as_bytes());
        assert!(
            written.0.iter().any(is_said),
            "nothing of the kind happened: {said}"
        );
    }
    let mut secrets = secrets(&stage);
    secrets.extend([STATIC_TOKEN, CLIENT_SECRET].map(str::to_owned));
    let pem = key.private_pem();
    secrets.extend(
        pem.lines()
            .filter(|line| line.len() == 64)
            .map(str::to_owned),
    );
    written.assert_without(&secrets);
}

#[tokio::test]
async fn the_browser_gets_nothing_but_the_address() {
    let stage = Stage::new().await;
    // A browser that shows its environment and its arguments.
    let shown = stage.home.join("shown");
    let script = format!(
        "#!/bin/sh\n(env; echo \"$@\") >> '{}'\nfor last; do :; done\nprintf '%s\\n' \"$last\" >> '{}'\n",
        shown.display(),
        stage.home.join("opened-urls").display()
    );
    for name in ["thv-test-browser", "xdg-open"] {
        let _ = stage.home.write(&format!("opener/{name}"), &script);
    }
    let server = stage
        .setup()
        .env("THV_REGISTRY_TOKEN", STATIC_TOKEN)
        .env("THV_REGISTRY_TOKEN_URL", "https://other.example")
        .start()
        .await;
    let answer = stage.log_in(&server).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = std::fs::read_to_string(shown).unwrap();
    assert!(shown.contains("code_challenge="), "{shown}");
    let mut written = Written::default();
    written.add("the browser's environment", shown.replace(PASSWORD, ""));
    written.assert_without(&secrets(&stage));
    drop(server);
    assert!(
        !shown.contains(PASSWORD) && !shown.contains(STATIC_TOKEN),
        "the browser was given the store's password or the registry's token"
    );
}

#[test]
fn a_leak_would_be_found_in_each_of_its_forms() {
    let secret = "head.claims.a-signature-that-nobody-may-see";
    for leaked in [
        secret.to_owned(),
        "a-signature-that-nobody-may-see".to_owned(),
        thv_testkit::jwt::encode(secret.as_bytes()),
    ] {
        let mut written = Written::default();
        written.add("a log", format!("before {leaked} after"));
        let search = std::panic::AssertUnwindSafe(|| written.assert_without(&[secret.to_owned()]));
        assert!(std::panic::catch_unwind(search).is_err(), "{leaked}");
    }
}
