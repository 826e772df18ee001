//! Tests of the one mapping from faults to answers.

use http_body_util::BodyExt;
use thv_auth::LoginReason;
use thv_registry::{Blame, Fault};

use super::causes::{AUTH_REQUIRED, LEGACY_HINT};
use super::*;

async fn written(problem: &Problem, door: Door, wants_json: bool) -> (u16, String, String) {
    let response = problem.render(door, wants_json);
    let media = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, media, String::from_utf8(body.to_vec()).unwrap())
}

fn unavailable(url: Option<&str>) -> Fault {
    Fault::Unavailable {
        url: url.map(str::to_owned),
        cause: "connection refused".to_owned(),
        retry_after: Some(Duration::from_millis(1500)),
        blame: Blame::Registry,
    }
}

#[tokio::test]
async fn f26_one_mapping_for_every_fault() {
    let table: [(Fault, u16, &str, &str); 5] = [
        (
            Fault::AuthRequired {
                source_name: "https://r.test".to_owned(),
                reason: LoginReason::NeverLoggedIn,
            },
            503,
            "registry_auth_required",
            AUTH_REQUIRED,
        ),
        (
            Fault::Legacy { url: None },
            502,
            "registry_legacy_format",
            LEGACY_HINT,
        ),
        (
            Fault::Legacy {
                url: Some("https://r.test/x.json".to_owned()),
            },
            502,
            "registry_legacy_format",
            &format!("registry at https://r.test/x.json: {LEGACY_HINT}"),
        ),
        (
            unavailable(Some("https://r.test")),
            503,
            "registry_unavailable",
            "upstream registry at https://r.test is unavailable: connection refused",
        ),
        (
            unavailable(None),
            503,
            "registry_unavailable",
            "upstream registry is unavailable: connection refused",
        ),
    ];
    for (fault, status, code, message) in table {
        let problem = Problem::from(fault);
        for door in [Door::Plain, Door::ToolHive, Door::Standard] {
            let (got, media, body) = written(&problem, door, false).await;
            assert_eq!((got, media.as_str()), (status, "application/json"));
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["code"], code);
            assert_eq!(body["message"], message);
            assert_eq!(body["error"].is_string(), door == Door::Standard);
        }
    }
}

#[tokio::test]
async fn reasons_and_actions_come_behind_what_clients_know() {
    let fault = |reason| Fault::AuthRequired {
        source_name: "https://r.test".to_owned(),
        reason,
    };
    let unavailable = |blame| Fault::Unavailable {
        url: None,
        cause: "down".to_owned(),
        retry_after: None,
        blame,
    };
    let examine = r#"{"method":"GET","href":"/api/v1/registries/default/auth/doctor"}"#;
    let log_in = format!(
        r#","actions":[{{"method":"POST","href":"/api/v1beta/registry/auth/login"}},{{"method":"POST","href":"/api/v1/registries/default/auth/logins"}},{examine}]"#
    );
    let configure = format!(
        r#","actions":[{{"method":"PUT","href":"/api/v1beta/registry/default"}},{examine}]"#
    );
    let table = [
        (
            fault(LoginReason::GrantRevoked),
            format!(
                r#""reason":"grant_revoked"{log_in},"registry":"default","login_methods":["browser","device","paste"]}}"#
            ),
        ),
        (
            fault(LoginReason::NotConfigured),
            format!(r#""reason":"login_not_configured"{configure},"registry":"default"}}"#),
        ),
        (
            fault(LoginReason::CredentialRefused),
            format!(
                r#""reason":"credential_refused","actions":[{examine}],"registry":"default"}}"#
            ),
        ),
        (
            fault(LoginReason::CredentialRejected),
            format!(
                r#""reason":"registry_rejected_token","actions":[{examine}],"registry":"default"}}"#
            ),
        ),
        (
            unavailable(Blame::Credential),
            format!(r#""reason":"credential_unusable","actions":[{examine}]}}"#),
        ),
        (
            unavailable(Blame::IdentityProvider),
            format!(r#""reason":"identity_provider_unavailable","actions":[{examine}]}}"#),
        ),
        (
            unavailable(Blame::SecretStore { locked: true }),
            format!(r#""reason":"store_locked","actions":[{examine}]}}"#),
        ),
        (unavailable(Blame::Registry), r#": down"}"#.to_owned()),
    ];
    for (fault, end) in table {
        let (_, _, body) = written(&Problem::from(fault), Door::Plain, false).await;
        assert!(body.starts_with(r#"{"code":"registry_"#), "{body}");
        assert!(body.trim_end().ends_with(&end), "{body}");
    }
}

#[test]
fn actions_are_for_the_registry_that_they_are_told_of() {
    let actions = [Action::StartLogin, Action::Examine, Action::Configure];
    let written = serde_json::to_value(Action::all_for(&actions, "of/others")).unwrap();
    assert_eq!(
        written,
        serde_json::json!([
            {"method": "POST", "href": "/api/v1/registries/of%2Fothers/auth/logins"},
            {"method": "GET", "href": "/api/v1/registries/of%2Fothers/auth/doctor"},
            {"method": "PUT", "href": "/api/v1beta/registry/of%2Fothers"},
        ])
    );
}

#[tokio::test]
async fn text_for_people_ends_with_what_to_do() {
    let problem = Problem {
        hint: Some("Do this."),
        ..Problem::bad_request("It is so")
    };
    let (_, _, body) = written(&problem, Door::Plain, false).await;
    assert_eq!(body, "It is so. Do this.\n");
}

#[tokio::test]
async fn our_own_door_writes_problem_documents_only() {
    for problem in [
        Problem::no_such_page(),
        Problem::method_not_allowed(&["GET"]),
        Problem::from(unavailable(None)),
    ] {
        let (status, media, body) = written(&problem, Door::V1, false).await;
        assert_eq!(media, "application/problem+json");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["status"], status);
        assert_eq!(body["detail"], body["message"]);
        assert!(body["code"].is_string());
    }
}

#[tokio::test]
async fn text_stays_text_unless_json_is_asked_for_by_name() {
    let problem = Problem::registry_not_found();
    assert_eq!(
        written(&problem, Door::Plain, false).await,
        (
            404,
            "text/plain; charset=utf-8".to_owned(),
            "Registry not found\n".to_owned()
        )
    );
    let json = "{\"code\":\"not_found\",\"message\":\"Registry not found\"}\n";
    for (door, wants_json) in [(Door::Plain, true), (Door::ToolHive, false)] {
        assert_eq!(
            written(&problem, door, wants_json).await,
            (404, "application/json".to_owned(), json.to_owned())
        );
    }
}

#[tokio::test]
async fn a_refused_method_has_one_allow_header_per_method_and_no_body() {
    let problem = Problem::method_not_allowed(&["GET", "PUT"]);
    let response = problem.render(Door::Plain, false);
    let allow: Vec<_> = response.headers().get_all(header::ALLOW).iter().collect();
    assert_eq!(allow, ["GET", "PUT"]);
    assert_eq!(written(&problem, Door::Plain, false).await.2, "");
    assert!(
        written(&problem, Door::Plain, true)
            .await
            .2
            .contains("\"method_not_allowed\"")
    );
}

#[test]
fn a_pause_is_rounded_up_to_whole_seconds() {
    let response = Problem::from(unavailable(None)).render(Door::Plain, false);
    assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    assert_eq!(whole_seconds(Duration::ZERO), 1);
    assert_eq!(whole_seconds(Duration::from_secs(3)), 3);
}

#[test]
fn doors_are_told_by_the_path() {
    assert_eq!(Door::of("/v0.1/servers"), Door::Standard);
    assert_eq!(Door::of("/registry/default/v0.1/servers"), Door::ToolHive);
    assert_eq!(Door::of("/api/v1beta/registry"), Door::Plain);
    assert_eq!(Door::of("/api/v1/registries/default/auth"), Door::V1);
    assert_eq!(Door::of("/health"), Door::Plain);
}
