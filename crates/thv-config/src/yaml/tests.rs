//! What a document means, and that an edit changes that and nothing else.

use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::model::{OAuthSettings, RegistrySource, SecretsSettings};

fn document(text: &str) -> Document {
    Document::parse(text.to_owned()).expect("the text is a configuration")
}

fn config(text: &str) -> Config {
    document(text).config().clone()
}

/// The text after `change` was made to the configuration in `text`.
fn changed(text: &str, change: impl FnOnce(&mut Config)) -> String {
    let document = document(text);
    let mut wanted = document.config().clone();
    change(&mut wanted);
    document
        .text_for(&wanted.normalised())
        .expect("the text can be edited")
}

fn oauth() -> RegistryAuth {
    RegistryAuth {
        kind: "oauth".to_owned(),
        oauth: Some(OAuthSettings {
            issuer: "https://auth.example.com".to_owned(),
            client_id: "012345".to_owned(),
            audience: None,
            scopes: vec!["openid".to_owned(), "offline_access".to_owned()],
            callback_port: Some(8666),
            cached_refresh_token_ref: Some("REGISTRY_OAUTH_e037e405".to_owned()),
            cached_token_expiry: Some("2026-01-01T00:00:00Z".to_owned()),
        }),
    }
}

// === Reading

#[test]
fn the_file_of_the_go_program_is_understood() {
    let text = "\
secrets:
    provider_type: encrypted
    setup_completed: true
clients:
    registered_clients: []
registry_url: \"\"
registry_api_url: https://registry.example.com
local_registry_path: \"\"
allow_private_registry_ip: true
secret_scope_migration: true
ca_certificate_path: /etc/ca.pem
otel:
    endpoint: \"\"
    sampling-rate: 0.1
registry_auth:
    type: oauth
    oauth:
        issuer: https://auth.example.com
        client_id: 012345
        scopes:
            - openid
            - offline_access
        callback_port: 8666
        cached_refresh_token_ref: REGISTRY_OAUTH_e037e405
        cached_token_expiry: 2026-01-01T00:00:00Z
";
    let expected = Config {
        source: RegistrySource::Api("https://registry.example.com".to_owned()),
        allow_private_ip: true,
        auth: Some(oauth()),
        secrets: SecretsSettings {
            provider_type: "encrypted".to_owned(),
            setup_completed: true,
        },
        secret_scope_migration: true,
        ca_certificate_path: Some(PathBuf::from("/etc/ca.pem")),
    };
    assert_eq!(config(text), expected);
}

#[test]
fn of_several_sources_the_api_wins_over_the_url_and_the_url_over_the_file() {
    let file = "local_registry_path: /f.json\n";
    let url = "registry_url: https://u\n";
    let api = "registry_api_url: https://a\n";
    assert_eq!(
        config(&[file, url, api].concat()).source,
        RegistrySource::Api("https://a".to_owned())
    );
    assert_eq!(
        config(&[file, url].concat()).source,
        RegistrySource::Url("https://u".to_owned())
    );
    assert_eq!(
        config(file).source,
        RegistrySource::File(PathBuf::from("/f.json"))
    );
}

#[test]
fn empty_null_and_absent_keys_mean_the_defaults() {
    for text in [
        "{}\n",
        "# nothing\n",
        "---\n",
        "registry_url:\nregistry_api_url: ~\nregistry_auth:\nsecrets:\nallow_private_registry_ip:\n",
        "registry_url: \"\"\nregistry_auth: {}\nsecrets: {}\nallow_private_registry_ip: no\n",
        "registry_auth: {type: \"\", oauth: {callback_port: 0}}\n",
        "allow_private_registry_ip: true\n",
    ] {
        assert_eq!(config(text), Config::default(), "{text:?}");
    }
    assert_eq!(Document::missing().config(), &Config::default());
}

#[test]
fn the_old_name_of_the_encrypted_provider_is_translated() {
    let document = document("secrets:\n    provider_type: basic\n    setup_completed: true\n");
    assert_eq!(document.config().secrets.provider_type, "encrypted");
    assert!(document.wants_migration());
}

#[test]
fn a_provider_that_is_named_counts_as_set_up() {
    let named = document("secrets:\n    provider_type: environment\n");
    assert!(named.config().secrets.setup_completed);
    assert!(named.wants_migration());
    let unnamed = document("secrets:\n    provider_type: \"\"\n    setup_completed: false\n");
    assert!(!unnamed.config().secrets.setup_completed);
    assert!(!unnamed.wants_migration());
}

#[test]
fn what_is_no_configuration_is_refused() {
    for text in [
        "just words\n",
        "- a\n- b\n",
        "registry_url: [a]\n",
        "registry_url: a\nregistry_url: b\n",
        "a: 1\na: 2\n",
        "allow_private_registry_ip: perhaps\n",
        "registry_auth: {oauth: {callback_port: 70000}}\n",
        "secrets:\n    provider_type: \"\n",
        "a: 1\n---\nb: 2\n",
        "a: b: c\n",
        "\0\0\0\0",
    ] {
        assert!(Document::parse(text.to_owned()).is_err(), "{text:?}");
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut lines = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
    for level in 1..12 {
        let below = level - 1;
        let items = vec![format!("*a{below}"); 10].join(", ");
        lines.push(format!("a{level}: &a{level} [{items}]"));
    }
    assert!(Document::parse(lines.join("\n")).is_err());
}

// === Writing

#[test]
fn a_new_file_gets_source_and_login_in_the_go_programs_layout() {
    let document = Document::missing();
    let wanted = Config {
        source: RegistrySource::Api("https://registry.example.com".to_owned()),
        auth: Some(oauth()),
        ..Config::default()
    };
    assert_eq!(
        document.text_for(&wanted).unwrap(),
        "\
secrets:
    provider_type: \"\"
    setup_completed: false
clients:
    registered_clients: []
registry_url: \"\"
registry_api_url: https://registry.example.com
local_registry_path: \"\"
allow_private_registry_ip: false
registry_auth:
    type: oauth
    oauth:
        issuer: https://auth.example.com
        client_id: \"012345\"
        scopes:
            - openid
            - offline_access
        callback_port: 8666
        cached_refresh_token_ref: REGISTRY_OAUTH_e037e405
        cached_token_expiry: 2026-01-01T00:00:00Z
"
    );
}

#[test]
fn going_back_to_the_built_in_source_clears_every_source_key() {
    let before = "registry_url: https://u # old\nregistry_api_url: https://a\nlocal_registry_path: /f\nallow_private_registry_ip: true\n";
    let after = changed(before, |config| config.source = RegistrySource::BuiltIn);
    assert_eq!(
        after,
        "registry_url: \"\" # old\nregistry_api_url: \"\"\nlocal_registry_path: \"\"\nallow_private_registry_ip: false\n"
    );
}

#[test]
fn logging_out_for_good_removes_the_login_block() {
    let before = "a: 1\nregistry_auth:\n    type: oauth\n    oauth:\n        issuer: https://i\n        future: 1\nz: 1\n";
    assert_eq!(changed(before, |config| config.auth = None), "a: 1\nz: 1\n");
}

#[test]
fn forgetting_the_token_keeps_the_client_and_keys_we_do_not_know() {
    let before = "registry_auth:\n    type: oauth\n    oauth:\n        issuer: https://i\n        client_id: c\n        future: 1 # one\n        cached_refresh_token_ref: R\n        cached_token_expiry: 2026-01-01T00:00:00Z\n";
    let after = changed(before, |config| {
        let oauth = config.auth.as_mut().unwrap().oauth.as_mut().unwrap();
        oauth.cached_refresh_token_ref = None;
        oauth.cached_token_expiry = None;
    });
    assert_eq!(
        after,
        "registry_auth:\n    type: oauth\n    oauth:\n        issuer: https://i\n        client_id: c\n        future: 1 # one\n"
    );
}

#[test]
fn f36_unset_and_false_are_told_apart() {
    let url = |config: &mut Config| config.source = RegistrySource::Url("https://u".to_owned());
    let trust = |config: &mut Config| config.ca_certificate_path = Some(PathBuf::from("/ca.pem"));
    // An explicit false stays one, an absent key stays absent, whoever owns it.
    let explicit = "registry_url: \"\"\nallow_private_registry_ip: false\ndisable_usage_metrics: false\nother: null\n";
    assert_eq!(
        changed(explicit, url),
        "registry_url: https://u\nallow_private_registry_ip: false\ndisable_usage_metrics: false\nother: null\n"
    );
    assert_eq!(
        changed("a: 1\n", trust),
        "a: 1\nca_certificate_path: /ca.pem\n"
    );
    let port = |config: &Config| config.auth.clone().unwrap().oauth.unwrap().callback_port;
    let with =
        |line: &str| format!("registry_auth:\n  type: oauth\n  oauth:\n    issuer: i\n{line}");
    assert_eq!(port(&config(&with(""))), None);
    assert_eq!(port(&config(&with("    callback_port: 1\n"))), Some(1));
}

#[test]
fn an_unrelated_change_leaves_a_shadowed_source_alone() {
    let before = "registry_url: https://u\nregistry_api_url: https://a\n";
    let after = changed(before, |config| config.auth = Some(oauth()));
    assert!(after.starts_with(before), "{after}");
}

#[test]
fn a_text_that_cannot_be_edited_in_place_is_written_anew_without_losing_a_key() {
    for before in [
        "{registry_url: https://u, other: [1, two], build_env: {A: b}}\n",
        "registry_auth: {type: oauth, oauth: {issuer: i, future: x}}\nother: 1\n",
        "other: &shared https://u\nregistry_url: https://v\nlast: *shared\n",
        "registry_url: &shared https://u\nlast: *shared\n",
        "\"registry_url\": \"https://u\\\n  /v\"\nother: 1\n",
        "other: \"one\nregistry_url: x\ntwo\"\nregistry_api_url: https://u\n",
    ] {
        let after = changed(before, |config| {
            config.source = RegistrySource::Api("https://new".to_owned());
            config.auth = Some(oauth());
        });
        let read = document(&after);
        assert_eq!(
            read.config().source,
            RegistrySource::Api("https://new".to_owned())
        );
        assert_eq!(read.config().auth, Some(oauth()));
        let before = document(before);
        let auth = Some(oauth());
        assert_eq!(
            rest(&read.root, auth.as_ref()),
            rest(&before.root, auth.as_ref())
        );
    }
}

#[cfg(unix)]
#[test]
fn a_path_that_yaml_cannot_spell_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let path = PathBuf::from(std::ffi::OsString::from_vec(b"/tmp/\xff".to_vec()));
    let wanted = Config {
        source: RegistrySource::File(path),
        ..Config::default()
    };
    assert!(Document::missing().text_for(&wanted).is_err());
}

// === Properties

/// One top-level piece of text that is not ours, without its own ending line break.
fn foreign(index: usize) -> impl Strategy<Value = String> {
    let word = "[a-zA-Z][a-zA-Z0-9_./-]{0,12}";
    let space = " {0,3}";
    prop_oneof![
        Just(String::new()),
        word.prop_map(|word| format!("# registry_url: {word}")),
        word.prop_map(move |value| format!("key{index}: {value}")),
        (word, space)
            .prop_map(move |(value, space)| format!("key{index}: \"{value}\"{space} # {value}")),
        any::<bool>().prop_map(move |flag| format!("key{index}: {flag}")),
        Just(format!("key{index}: 1.10")),
        Just(format!(
            "key{index}: {{registry_url: inner, secrets: [a, b]}}"
        )),
        vec(word, 1..4).prop_map(move |items| format!("key{index}:\n- {}", items.join("\n- "))),
        vec(word, 1..4)
            .prop_map(move |items| format!("key{index}:\n    - {}", items.join("\n    - "))),
        vec(word, 1..4).prop_map(move |items| {
            format!(
                "key{index}: |\n  registry_url: x\n  # {}\n\n  secrets:",
                items.join("\n  ")
            )
        }),
        vec((word, word), 1..4).prop_map(move |pairs| {
            let lines: Vec<_> = pairs
                .iter()
                .enumerate()
                .map(|(number, (_, value))| format!("  registry_url{number}: {value} # {value}"))
                .collect();
            format!(
                "'key{index}':\n  # inner\n{}\n\n  registry_url: x",
                lines.join("\n")
            )
        }),
    ]
}

/// One of our own blocks as somebody may have written it, whole lines.
fn ours() -> impl Strategy<Value = Vec<String>> {
    let source = prop_oneof![
        Just(String::new()),
        Just("registry_url: https://old\n".to_owned()),
        Just(
            "registry_url: ''\nregistry_api_url: \"https://old\"\nlocal_registry_path:\n"
                .to_owned()
        ),
        Just("allow_private_registry_ip: true\nlocal_registry_path: >-\n    /old\n".to_owned()),
    ];
    let auth = prop_oneof![
        Just(String::new()),
        Just("registry_auth:\n".to_owned()),
        Just("registry_auth:\n  type: oauth\n  oauth:\n    issuer: i\n    scopes: [a]\n".to_owned()),
        Just("registry_auth:\n    oauth:\n        scopes:\n        - a\n        client_id: c\n    type: oauth\n".to_owned()),
    ];
    let secrets = prop_oneof![
        Just(String::new()),
        Just("secrets:\n    provider_type: basic\n    setup_completed: true\n".to_owned()),
        Just("secrets: {}\n".to_owned()),
    ];
    (source, auth, secrets).prop_map(|(source, auth, secrets)| vec![source, auth, secrets])
}

/// A whole file, and the lines of it that are not ours.
fn file() -> impl Strategy<Value = (String, Vec<String>)> {
    let pieces = (0..8usize).map(foreign).collect::<Vec<_>>();
    (pieces, ours(), any::<bool>()).prop_map(|(pieces, ours, windows)| {
        let end = if windows { "\r\n" } else { "\n" };
        let mut text = String::new();
        let mut kept = Vec::new();
        let mut ours = ours.into_iter();
        for piece in pieces {
            for line in piece.split('\n') {
                kept.push(format!("{line}{end}"));
            }
            text.push_str(&piece.replace('\n', end));
            text.push_str(end);
            text.push_str(&ours.next().unwrap_or_default().replace('\n', end));
        }
        (text, kept)
    })
}

fn any_source() -> impl Strategy<Value = RegistrySource> {
    prop_oneof![
        Just(RegistrySource::BuiltIn),
        "\\PC{1,20}".prop_map(|path| RegistrySource::File(PathBuf::from(path))),
        "https://[a-z]{1,8}(/[a-z#: ]{0,8})?".prop_map(RegistrySource::Url),
        any::<String>().prop_map(RegistrySource::Api),
    ]
}

fn any_auth() -> impl Strategy<Value = Option<RegistryAuth>> {
    let oauth = (
        any::<String>(),
        any::<String>(),
        proptest::option::of(any::<String>()),
        vec("[a-z:]{0,6}", 0..3),
        proptest::option::of(any::<u16>()),
        proptest::option::of("[A-Z_]{1,9}"),
    )
        .prop_map(
            |(issuer, client_id, audience, scopes, callback_port, reference)| OAuthSettings {
                issuer,
                client_id,
                audience,
                scopes,
                callback_port,
                cached_token_expiry: reference.clone(),
                cached_refresh_token_ref: reference,
            },
        );
    proptest::option::of(proptest::option::of(oauth).prop_map(|oauth| RegistryAuth {
        kind: "oauth".to_owned(),
        oauth,
    }))
}

fn any_config() -> impl Strategy<Value = Config> {
    (
        any_source(),
        any::<bool>(),
        any_auth(),
        "[a-z1]{0,5}",
        any::<bool>(),
    )
        .prop_map(
            |(source, allow_private_ip, auth, provider_type, secret_scope_migration)| {
                Config {
                    source,
                    allow_private_ip,
                    auth,
                    secrets: SecretsSettings {
                        provider_type,
                        setup_completed: false,
                    },
                    secret_scope_migration,
                    ca_certificate_path: None,
                }
                .normalised()
            },
        )
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in any::<String>()) {
        let _ = Document::parse(text);
    }

    #[test]
    fn any_configuration_reads_back_as_it_was_written(wanted in any_config()) {
        let text = Document::missing().text_for(&wanted).unwrap();
        let read = document(&text);
        prop_assert_eq!(read.config(), &wanted);
    }

    #[test]
    fn w41_an_update_keeps_every_line_that_is_not_ours(
        (text, kept) in file(),
        wanted in any_config(),
    ) {
        let before = document(&text);
        let after = before.text_for(&wanted).unwrap();
        let mut kept = kept.iter().peekable();
        for line in after.split_inclusive('\n') {
            kept.next_if(|next| *next == line);
        }
        prop_assert_eq!(kept.next(), None, "lost from:\n{}\nbecame:\n{}", text, after);
        let own = |text: &str| text.split_inclusive('\n').count();
        // At most our 17 keys with their lists and mappings are new; nothing is written twice.
        prop_assert!(own(&after) <= own(&text) + 20, "grew:\n{}", after);
    }
}
