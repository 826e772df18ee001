//! One list of promises, kept by the fake and by the certified npm provider alike: the fake cannot drift from the real
//! thing without a failing test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod idp_kit;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use idp_kit::{
    Idp, Login, RESOURCE, assert_error, callback, get, login, page, param, post, refresh,
    refresh_form, text, with,
};
use serde_json::json;
use thv_testkit::browse::browse;
use thv_testkit::client::{Address, Call, Method};
use thv_testkit::jwt;
use thv_testkit::registry::{FakeRegistry, Guard, SERVERS};

type Promise = for<'a> fn(&'a Idp) -> BoxFuture<'a, ()>;

/// Makes the list, a test for each promise of the fake, and one test for the whole list of the real provider (which
/// takes its time to start).
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        const ALL: &[(&str, Promise)] = &[$((stringify!($name), |idp| $name(idp).boxed())),*];

        mod fake {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(&super::Idp::fake().await).await;
                }
            )*
        }
    };
}

promises! {
    both_documents_name_the_issuer,
    a_login_yields_signed_tokens_for_this_client_and_resource,
    the_callback_has_state_and_issuer,
    a_wrong_verifier_gets_nothing,
    a_missing_verifier_gets_nothing,
    the_code_is_bound_to_its_redirect_uri,
    the_code_is_bound_to_its_resource,
    a_replayed_code_ends_what_it_gave,
    a_loopback_port_is_free_but_the_rest_is_exact,
    an_unknown_client_is_told_on_a_page,
    pkce_is_required_and_only_s256,
    an_unknown_resource_is_an_invalid_target,
    a_person_can_say_no,
    offline_access_needs_consent,
    refreshing_rotates_and_reuse_ends_the_family,
    of_two_refreshes_at_once_one_wins_and_nothing_survives,
    a_refresh_may_only_narrow_the_scope,
    a_revoked_refresh_token_is_dead,
    revoking_garbage_is_fine,
    an_administrator_can_end_everything,
    new_keys_are_published_and_refreshing_goes_on,
    a_public_client_has_no_secret,
    json_is_no_form,
    a_guarded_registry_takes_these_tokens_and_no_others,
    a_device_code_is_good_once_somebody_has_agreed,
    a_device_code_can_be_refused,
}

#[tokio::test]
async fn the_real_provider_keeps_them_all() {
    let real = Idp::real().await;
    for (name, promise) in ALL {
        println!("{name}");
        promise(&real).await;
    }
}

async fn both_documents_name_the_issuer(idp: &Idp) {
    for path in ["openid-configuration", "oauth-authorization-server"] {
        let answer = get(&format!("{}/.well-known/{path}", idp.issuer())).await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header("content-type")
                .starts_with("application/json")
        );
        let document = answer.json();
        assert_eq!(document["issuer"], idp.issuer());
        assert_eq!(
            document["code_challenge_methods_supported"],
            json!(["S256"])
        );
        assert_eq!(
            document["authorization_response_iss_parameter_supported"],
            true
        );
        for endpoint in ["authorization", "token", "revocation"] {
            let endpoint = document[format!("{endpoint}_endpoint")].as_str().unwrap();
            assert!(endpoint.starts_with(&idp.issuer()), "{endpoint}");
        }
    }
}

async fn a_login_yields_signed_tokens_for_this_client_and_resource(idp: &Idp) {
    let (login, _, tokens) = login(idp).await;
    let keys = idp.keys().await;
    let (head, access) = jwt::verify(text(&tokens, "access_token"), &keys).unwrap();
    assert_eq!(head["typ"], "at+jwt");
    assert_eq!(access["iss"], idp.issuer());
    assert_eq!(access["aud"], RESOURCE);
    assert_eq!(access["scope"], "registry:read registry:write");
    assert_eq!(
        access["exp"].as_i64().unwrap() - access["iat"].as_i64().unwrap(),
        tokens["expires_in"].as_i64().unwrap()
    );
    let (_, identity) = jwt::verify(text(&tokens, "id_token"), &keys).unwrap();
    assert_eq!(identity["iss"], idp.issuer());
    assert_eq!(identity["aud"], "thv-cli");
    assert_eq!(identity["nonce"], login.nonce.as_str());
    assert_eq!(identity["sub"], access["sub"]);
    assert_eq!(tokens["token_type"], "Bearer");
    // What a token is good for does not include the login itself.
    assert_eq!(tokens["scope"], "registry:read registry:write");
}

async fn the_callback_has_state_and_issuer(idp: &Idp) {
    let login = Login::new();
    let back = callback(idp, &login.parameters()).await;
    assert_eq!(param(&back, "state").unwrap(), login.state);
    assert_eq!(param(&back, "iss").unwrap(), idp.issuer());
}

async fn exchange_refused(idp: &Idp, changes: &[(&str, &str)], error: &str) {
    let login = Login::new();
    let back = callback(idp, &login.parameters()).await;
    let form = with(login.exchange(&param(&back, "code").unwrap()), changes);
    let answer = post(&idp.endpoint("token_endpoint").await, &form).await;
    assert_error(&answer, 400, error);
}

async fn a_wrong_verifier_gets_nothing(idp: &Idp) {
    exchange_refused(idp, &[("code_verifier", &jwt::random(32))], "invalid_grant").await;
}

async fn a_missing_verifier_gets_nothing(idp: &Idp) {
    exchange_refused(idp, &[("code_verifier", "")], "invalid_grant").await;
}

async fn the_code_is_bound_to_its_redirect_uri(idp: &Idp) {
    let other = "http://127.0.0.1:2/callback";
    exchange_refused(idp, &[("redirect_uri", other)], "invalid_grant").await;
}

async fn the_code_is_bound_to_its_resource(idp: &Idp) {
    let other = "http://127.0.0.1:9000/other";
    exchange_refused(idp, &[("resource", other)], "invalid_target").await;
}

async fn a_replayed_code_ends_what_it_gave(idp: &Idp) {
    let (login, code, tokens) = login(idp).await;
    let again = post(
        &idp.endpoint("token_endpoint").await,
        &login.exchange(&code),
    )
    .await;
    assert_error(&again, 400, "invalid_grant");
    let refreshed = refresh(idp, text(&tokens, "refresh_token")).await;
    assert_error(&refreshed, 400, "invalid_grant");
}

async fn a_loopback_port_is_free_but_the_rest_is_exact(idp: &Idp) {
    let login = Login::new();
    for (uri, fine) in [
        ("http://127.0.0.1:40123/callback", true),
        ("http://127.0.0.1/callback", true),
        ("http://localhost:8666/callback", true),
        ("http://127.0.0.1:1/callback/", false),
        ("http://127.0.0.1:1/other", false),
        ("http://127.0.0.1:1/callback?x=1", false),
        ("http://127.0.0.2:1/callback", false),
        ("https://127.0.0.1:1/callback", false),
        ("http://localhost.evil.test/callback", false),
        ("http://127.0.0.1:1@evil.test/callback", false),
    ] {
        let parameters = with(login.parameters(), &[("redirect_uri", uri)]);
        let url = format!(
            "{}?{}",
            idp.endpoint("authorization_endpoint").await,
            idp_kit::encoded(&parameters)
        );
        let mut browser = thv_testkit::browse::Browser::default();
        if fine {
            let back = browser.open_until(&url, uri).await;
            assert!(param(&back, "code").is_some(), "{back}");
        } else {
            let visit = browser.open(&url).await;
            assert_eq!(visit.answer.status, 400, "{uri}: {visit:?}");
            assert_eq!(visit.trail.len(), 1, "{uri}: {visit:?}");
        }
    }
}

async fn an_unknown_client_is_told_on_a_page(idp: &Idp) {
    let parameters = with(Login::new().parameters(), &[("client_id", "nobody")]);
    let visit = page(idp, &parameters).await;
    assert_eq!(visit.answer.status, 400, "{visit:?}");
    assert_eq!(visit.trail.len(), 1, "{visit:?}");
}

async fn authorization_refused(idp: &Idp, changes: &[(&str, &str)], error: &str) {
    let login = Login::new();
    let back = callback(idp, &with(login.parameters(), changes)).await;
    assert_eq!(param(&back, "error").as_deref(), Some(error), "{back}");
    assert_eq!(param(&back, "code"), None);
    assert_eq!(param(&back, "state").unwrap(), login.state);
    assert_eq!(param(&back, "iss").unwrap(), idp.issuer());
}

async fn pkce_is_required_and_only_s256(idp: &Idp) {
    let none = [("code_challenge", ""), ("code_challenge_method", "")];
    authorization_refused(idp, &none, "invalid_request").await;
    authorization_refused(
        idp,
        &[("code_challenge_method", "plain")],
        "invalid_request",
    )
    .await;
    authorization_refused(idp, &[("code_challenge", "short")], "invalid_request").await;
}

async fn an_unknown_resource_is_an_invalid_target(idp: &Idp) {
    let other = "http://127.0.0.1:9000/other";
    authorization_refused(idp, &[("resource", other)], "invalid_target").await;
}

async fn a_person_can_say_no(idp: &Idp) {
    idp.refuse_consent().await;
    authorization_refused(idp, &[], "access_denied").await;
    idp.agree_again().await;
}

async fn offline_access_needs_consent(idp: &Idp) {
    let login = Login::new();
    let back = callback(idp, &with(login.parameters(), &[("prompt", "")])).await;
    let form = login.exchange(&param(&back, "code").unwrap());
    let tokens = post(&idp.endpoint("token_endpoint").await, &form).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    assert!(tokens.json().get("refresh_token").is_none(), "{tokens:?}");
}

async fn refreshing_rotates_and_reuse_ends_the_family(idp: &Idp) {
    let (_, _, tokens) = login(idp).await;
    let first = text(&tokens, "refresh_token").to_owned();
    let answer = refresh(idp, &first).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = answer.json();
    let second = text(&answer, "refresh_token").to_owned();
    assert_ne!(first, second);
    assert_ne!(text(&answer, "access_token"), text(&tokens, "access_token"));
    assert_error(&refresh(idp, &first).await, 400, "invalid_grant");
    assert_error(&refresh(idp, &second).await, 400, "invalid_grant");
}

async fn of_two_refreshes_at_once_one_wins_and_nothing_survives(idp: &Idp) {
    let (_, _, tokens) = login(idp).await;
    let token = text(&tokens, "refresh_token");
    let (one, other) = futures_util::future::join(refresh(idp, token), refresh(idp, token)).await;
    let (winner, loser) = if one.status == 200 {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(winner.status, 200, "{winner:?}");
    assert_error(&loser, 400, "invalid_grant");
    let last = refresh(idp, text(&winner.json(), "refresh_token")).await;
    assert_error(&last, 400, "invalid_grant");
}

async fn a_refresh_may_only_narrow_the_scope(idp: &Idp) {
    let login = Login::new();
    let asked = "openid offline_access registry:read";
    let back = callback(idp, &with(login.parameters(), &[("scope", asked)])).await;
    let endpoint = idp.endpoint("token_endpoint").await;
    let tokens = post(&endpoint, &login.exchange(&param(&back, "code").unwrap())).await;
    let token = text(&tokens.json(), "refresh_token").to_owned();
    let wider = with(
        refresh_form(&token),
        &[(
            "scope",
            "openid offline_access registry:read registry:write",
        )],
    );
    assert_error(&post(&endpoint, &wider).await, 400, "invalid_scope");
    let narrow = with(refresh_form(&token), &[("scope", "registry:read")]);
    let answer = post(&endpoint, &narrow).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["scope"], "registry:read");
}

async fn revoke(idp: &Idp, token: &str) -> u16 {
    let form = with(Vec::new(), &[("client_id", "thv-cli"), ("token", token)]);
    post(&idp.endpoint("revocation_endpoint").await, &form)
        .await
        .status
}

async fn a_revoked_refresh_token_is_dead(idp: &Idp) {
    let (_, _, tokens) = login(idp).await;
    let token = text(&tokens, "refresh_token");
    assert_eq!(revoke(idp, token).await, 200);
    assert_error(&refresh(idp, token).await, 400, "invalid_grant");
}

async fn revoking_garbage_is_fine(idp: &Idp) {
    assert_eq!(revoke(idp, "nothing-of-yours").await, 200);
}

async fn an_administrator_can_end_everything(idp: &Idp) {
    let (_, _, tokens) = login(idp).await;
    idp.revoke_everything().await;
    let answer = refresh(idp, text(&tokens, "refresh_token")).await;
    assert_error(&answer, 400, "invalid_grant");
}

async fn new_keys_are_published_and_refreshing_goes_on(idp: &Idp) {
    let (_, _, tokens) = login(idp).await;
    let before = idp.keys().await;
    idp.rotate_keys().await;
    let answer = refresh(idp, text(&tokens, "refresh_token")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let token = text(&answer, "access_token");
    assert!(jwt::verify(token, &before).is_err());
    jwt::verify(token, &idp.keys().await).unwrap();
}

async fn a_public_client_has_no_secret(idp: &Idp) {
    let (_, _, tokens) = login(idp).await;
    let token = text(&tokens, "refresh_token");
    let (address, path) = Address::of_url(&idp.endpoint("token_endpoint").await).unwrap();
    let basic = idp_kit::form_call(&path, &refresh_form(token))
        .header("authorization", "Basic dGh2LWNsaTpndWVzc2Vk")
        .to(&address)
        .await;
    assert!((400..=401).contains(&basic.status), "{basic:?}");
    assert!(basic.json().get("access_token").is_none());
    let anonymous = with(refresh_form(token), &[("client_id", "")]);
    let anonymous = idp_kit::form_call(&path, &anonymous).to(&address).await;
    assert!((400..=401).contains(&anonymous.status), "{anonymous:?}");
    // None of it has cost the token.
    assert_eq!(refresh(idp, token).await.status, 200);
}

async fn json_is_no_form(idp: &Idp) {
    let (_, _, tokens) = login(idp).await;
    let (address, path) = Address::of_url(&idp.endpoint("token_endpoint").await).unwrap();
    let body = json!({
        "grant_type": "refresh_token", "client_id": "thv-cli", "refresh_token": tokens["refresh_token"],
    });
    let answer = Call::new(Method::POST, &path)
        .json(&body)
        .to(&address)
        .await;
    assert_error(&answer, 400, "invalid_request");
}

async fn a_guarded_registry_takes_these_tokens_and_no_others(idp: &Idp) {
    let registry = FakeRegistry::with_servers(3).await;
    let guard = match idp {
        Idp::Fake(fake) => Guard::of(fake, RESOURCE),
        Idp::Real(real) => Guard::of_issuer(&real.issuer, RESOURCE).await,
    };
    registry.protect(guard.scope("registry:read"));
    let address = Address::from_record(&registry.url());
    assert_eq!(address.get(SERVERS).await.status, 401);
    assert!(registry.bearers().is_empty());
    let (_, _, tokens) = login(idp).await;
    let ask = async |token: &str| {
        Call::get(SERVERS)
            .header("authorization", &format!("Bearer {token}"))
            .to(&address)
            .await
    };
    assert_eq!(ask(text(&tokens, "access_token")).await.status, 200);
    // An identity is not an access token, and a changed one is nobody's.
    assert_eq!(ask(text(&tokens, "id_token")).await.status, 401);
    let mut changed = text(&tokens, "access_token").to_owned();
    changed.replace_range(changed.len() - 8..changed.len() - 4, "AAAA");
    assert_eq!(ask(&changed).await.status, 401);
    let seen = registry.bearers();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].refused, None);
    assert_eq!(
        seen[0].fingerprint,
        jwt::fingerprint(text(&tokens, "access_token"))
    );
    assert!(seen[1].refused.is_some() && seen[2].refused.is_some());
}

/// A device code, the page where it is typed in, and the poll for it.
async fn device_code(idp: &Idp) -> (String, Vec<(String, String)>) {
    let asked = with(
        Vec::new(),
        &[
            ("client_id", "thv-cli"),
            ("scope", "openid offline_access registry:read"),
            ("resource", RESOURCE),
        ],
    );
    let endpoint = idp.endpoint("device_authorization_endpoint").await;
    let answer = post(&endpoint, &asked).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let page = text(&answer, "verification_uri_complete");
    assert!(page.starts_with(text(&answer, "verification_uri")));
    assert!(page.ends_with(text(&answer, "user_code")), "{answer}");
    assert!(answer["expires_in"].as_u64().unwrap() > 60, "{answer}");
    let poll = with(
        Vec::new(),
        &[
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", "thv-cli"),
            ("device_code", text(&answer, "device_code")),
            ("resource", RESOURCE),
        ],
    );
    (page.to_owned(), poll)
}

async fn a_device_code_is_good_once_somebody_has_agreed(idp: &Idp) {
    let (page, poll) = device_code(idp).await;
    let token = idp.endpoint("token_endpoint").await;
    assert_error(&post(&token, &poll).await, 400, "authorization_pending");
    let unknown = with(poll.clone(), &[("device_code", "made-up")]);
    assert_error(&post(&token, &unknown).await, 400, "invalid_grant");
    let other = with(poll.clone(), &[("client_id", "nobody")]);
    assert_error(&post(&token, &other).await, 401, "invalid_client");
    let visit = browse(&page).await;
    assert_eq!(visit.answer.status, 200, "{visit:?}");
    let answer = post(&token, &poll).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let tokens = answer.json();
    let keys = idp.keys().await;
    let (_, access) = jwt::verify(text(&tokens, "access_token"), &keys).unwrap();
    assert_eq!(access["aud"], RESOURCE);
    let (_, identity) = jwt::verify(text(&tokens, "id_token"), &keys).unwrap();
    assert_eq!(identity["sub"], access["sub"]);
    assert_eq!(identity["nonce"], serde_json::Value::Null);
    let refresh_token = text(&tokens, "refresh_token");
    assert_eq!(refresh(idp, refresh_token).await.status, 200);
    assert_error(&post(&token, &poll).await, 400, "invalid_grant");
}

async fn a_device_code_can_be_refused(idp: &Idp) {
    let (page, poll) = device_code(idp).await;
    idp.refuse_consent().await;
    let _ = browse(&page).await;
    let token = idp.endpoint("token_endpoint").await;
    assert_error(&post(&token, &poll).await, 400, "access_denied");
    idp.agree_again().await;
}
