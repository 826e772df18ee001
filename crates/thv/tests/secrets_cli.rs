//! `thv secret` as a person or a script meets it, with the real program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use serde_json::json;
use thv_testkit::binary::{Ran, cli_with};
use thv_testkit::go_store;
use thv_testkit::home::Home;
use thv_testkit::keyring::Session;

const THV: &str = env!("CARGO_BIN_EXE_thv");
/// The folder of the stand-in for 1Password's program.
const OP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/op");
const STORE: &str = "data/toolhive/secrets_encrypted";
const PASSWORD: (&str, &str) = ("TOOLHIVE_SECRETS_PASSWORD", "correct horse");

/// Runs `thv secret …` on a machine without a keyring.
async fn secret(home: &Home, arguments: &[&str], input: &str) -> Ran {
    secret_with(home, arguments, &[], input).await
}

async fn secret_with(home: &Home, arguments: &[&str], env: &[(&str, &str)], input: &str) -> Ran {
    let arguments: Vec<_> = ["secret"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    cli_with(THV, home, &arguments, env, input.as_bytes()).await
}

/// A home with the encrypted store, its key in a key file.
async fn home() -> Home {
    let home = Home::new();
    assert_eq!(secret(&home, &["provider", "encrypted"], "").await.code, 0);
    home
}

macro_rules! assert_story {
    ($home:expr, $($ran:expr),+ $(,)?) => {
        let place = $home.path().display().to_string();
        let story: Vec<String> = vec![$($ran.transcript().replace(&place, "~")),+];
        insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(story.join("\n")) });
    };
}

#[tokio::test]
async fn a_first_time_user_s_story() {
    let home = Home::new();
    assert_story!(
        home,
        secret(&home, &["list"], "").await,
        secret(&home, &["setup"], "what\nencrypted\n").await,
        secret(&home, &["status"], "").await,
        secret(&home, &["list"], "").await,
        secret(&home, &["set", "API_KEY"], "the value\n").await,
        secret(&home, &["set", "EMPTY"], "\n").await,
        secret(&home, &["get", "API_KEY"], "").await,
        secret(&home, &["get", "API_KEY", "--format", "json"], "").await,
        secret(&home, &["list"], "").await,
        secret(&home, &["list", "--format", "json"], "").await,
        secret(&home, &["delete", "API_KEY"], "").await,
        secret(&home, &["delete", "API_KEY"], "").await,
        secret(&home, &["get", "API_KEY"], "").await,
    );
}

#[tokio::test]
async fn what_goes_wrong_says_what_to_type_next() {
    let home = home().await;
    let environment = [("TOOLHIVE_SECRETS_PROVIDER", "environment")];
    let unknown = [("TOOLHIVE_SECRETS_PROVIDER", "none")];
    assert_story!(
        home,
        secret(&home, &["set", "__thv_registry_x"], "1").await,
        secret(&home, &["delete", "--system", "x"], "").await,
        secret(&home, &["provider", "none"], "").await,
        secret(&home, &["provider", "1password"], "").await,
        secret(&home, &["setup"], "").await,
        secret_with(&home, &["set", "A"], &environment, "1").await,
        secret_with(&home, &["delete", "A"], &environment, "").await,
        secret_with(&home, &["list"], &environment, "").await,
        secret_with(&home, &["list"], &unknown, "").await,
        secret_with(&home, &["list"], &[PASSWORD], "").await,
        secret_with(&home, &["status"], &[PASSWORD], "").await,
        secret(
            &home,
            &["provider", "encrypted", "--password-stdin"],
            "another"
        )
        .await,
        secret(
            &home,
            &["provider", "environment", "--password-stdin"],
            "another"
        )
        .await,
    );
}

#[tokio::test]
async fn a_value_is_stored_as_it_is_piped_in_but_for_one_line_end() {
    let home = home().await;
    for (input, stored) in [
        ("one line", "one line"),
        ("with its end\n", "with its end"),
        ("two\nlines\n\n", "two\nlines\n"),
        (" spaces \r\n", " spaces "),
        ("🗝\u{0} \u{7f}", "🗝\u{0} \u{7f}"),
    ] {
        assert_eq!(secret(&home, &["set", "A"], input).await.code, 0);
        let shown = secret(&home, &["get", "A"], "").await;
        assert_eq!(shown.stdout, format!("{stored}\n"));
        assert_eq!(shown.stderr, "");
    }
}

#[tokio::test]
async fn a_terminal_is_asked_without_echo_and_warned_when_it_is_shown_a_value() {
    let home = home().await;
    // `script` gives the program a terminal, and types what it is given.
    let on_terminal = async |command: &str, typed: &str| {
        let line = format!("{THV} {command}");
        cli_with(
            "/usr/bin/script",
            &home,
            &["--quiet", "--return", "--command", &line, "/dev/null"],
            &[("TERM", "dumb")],
            typed.as_bytes(),
        )
        .await
    };
    let set = on_terminal("secret set TYPED", "tip-tap\n").await;
    assert_eq!(set.code, 0, "{set:?}");
    assert!(
        set.stdout
            .contains("Enter secret value (input will be hidden): "),
        "{set:?}"
    );
    let after = set.stdout.split("hidden): ").nth(1).unwrap();
    assert!(!after.contains("tip-tap"), "{set:?}");
    let get = on_terminal("secret get TYPED", "").await;
    assert!(
        get.stdout
            .contains("Caution: the value stays in this terminal's scrollback"),
        "{get:?}"
    );
    assert!(get.stdout.contains("tip-tap"), "{get:?}");
}

#[tokio::test]
async fn f45_system_secrets_are_shown_by_the_names_that_delete_them() {
    let home = Home::new();
    home.write_config("secrets:\n    provider_type: encrypted\n    setup_completed: true\n");
    let of_go =
        json!({"MINE": "1", "__thv_registry_R": "2", "__thv_llm_K": "3", "BEARER_TOKEN_x": "4"});
    let path = home.write(STORE, go_store::seal(PASSWORD.1, &of_go));
    let env = [PASSWORD];
    assert_story!(
        home,
        secret_with(&home, &["list"], &env, "").await,
        secret_with(&home, &["list", "--system"], &env, "").await,
        secret_with(&home, &["get", "__thv_registry_R"], &env, "").await,
        secret_with(&home, &["delete", "--system", "__thv_registry_R"], &env, "").await,
        secret_with(&home, &["list", "--system", "--format", "json"], &env, "").await,
    );
    assert_eq!(
        go_store::open(PASSWORD.1, &std::fs::read(path).unwrap()),
        json!({"MINE": "1", "__thv_llm_K": "3", "__thv_workloads_BEARER_TOKEN_x": "4"})
    );
}

#[tokio::test]
async fn the_second_form_is_written_when_asked_for_and_can_be_undone() {
    let home = Home::new();
    home.write_config("secrets:\n    provider_type: encrypted\n    setup_completed: true\n");
    let of_go = go_store::seal(PASSWORD.1, &json!({"A": "1"}));
    let path = home.write(STORE, &of_go);
    let env = [PASSWORD];
    assert_story!(
        home,
        secret_with(&home, &["upgrade-store"], &env, "").await,
        secret_with(&home, &["upgrade-store"], &env, "").await,
        secret_with(&home, &["get", "A"], &env, "").await,
        secret_with(&home, &["set", "B"], &env, "2").await,
        secret_with(
            &home,
            &["list"],
            &[("TOOLHIVE_SECRETS_PASSWORD", "wrong")],
            ""
        )
        .await,
    );
    assert!(
        std::fs::read(&path)
            .unwrap()
            .starts_with(b"thv-secrets\x02")
    );
    let kept = home.join("data/toolhive/secrets_encrypted.form1.bak");
    assert_eq!(std::fs::read(kept).unwrap(), of_go);
    let undone = secret_with(&home, &["upgrade-store", "--undo"], &env, "").await;
    assert_eq!(undone.code, 0, "{undone:?}");
    assert_eq!(
        go_store::open(PASSWORD.1, &std::fs::read(&path).unwrap()),
        json!({"A": "1", "B": "2"})
    );
}

#[tokio::test]
async fn a_key_file_on_the_command_line_counts_before_the_environment() {
    let home = Home::new();
    let key = home.write("keys/mine", "correct horse\n");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    home.write_config("secrets:\n    provider_type: encrypted\n    setup_completed: true\n");
    home.write(STORE, go_store::seal(PASSWORD.1, &json!({"A": "1"})));
    let key = key.display().to_string();
    let wrong = [("TOOLHIVE_SECRETS_PASSWORD", "wrong")];
    let with_flag = secret_with(&home, &["--key-file", &key, "get", "A"], &wrong, "").await;
    assert_eq!((with_flag.code, with_flag.stdout.as_str()), (0, "1\n"));
    let without = secret_with(&home, &["get", "A"], &wrong, "").await;
    assert_eq!(without.code, 6, "{without:?}");
}

#[tokio::test]
async fn a_keyring_is_reset_only_when_no_secret_depends_on_it_or_when_told() {
    let session = Session::unlocked().await;
    let bus = session.bus_env();
    let bus: Vec<_> = bus
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let home = Home::new();
    let run =
        async |arguments: &[&str], input: &str| secret_with(&home, arguments, &bus, input).await;
    assert_story!(
        home,
        run(&["provider", "encrypted"], "").await,
        run(&["set", "A"], "1").await,
        run(&["status"], "").await,
        run(&["reset-keyring"], "").await,
        run(&["reset-keyring", "--yes"], "").await,
        run(&["get", "A"], "").await,
    );
}

#[tokio::test]
async fn onepassword_is_read_by_reference() {
    let home = Home::new();
    let path = format!("{OP}:/usr/bin:/bin");
    let env = [
        ("OP_SERVICE_ACCOUNT_TOKEN", "ops_canary"),
        ("PATH", path.as_str()),
    ];
    assert_story!(
        home,
        secret_with(&home, &["provider", "1password"], &env, "").await,
        secret_with(&home, &["status"], &env, "").await,
        secret_with(&home, &["list"], &env, "").await,
        secret_with(&home, &["get", "op://v1/i1/password"], &env, "").await,
        secret_with(&home, &["get", "op://v1/i2/password"], &env, "").await,
        secret_with(&home, &["get", "API_KEY"], &env, "").await,
        secret_with(&home, &["set", "API_KEY"], &env, "1").await,
    );
}
