//! Setting a registry together with its login.

mod common;

use common::house;
use common::protected::{ITEM, LOGIN, protected, update, upstream};
use http::Method;
use thv_testkit::provider::CLIENT;

#[tokio::test]
async fn an_update_sets_the_registry_and_its_login_together() {
    let (provider, registry) = upstream().await;
    let house = house().await;
    let set = house
        .call(Method::PUT, ITEM, &update(&registry, &provider.issuer()))
        .await;
    assert_eq!(
        (set.status.as_u16(), set.text()),
        (200, "{\"type\":\"api\"}\n")
    );
    let read = house.get(ITEM).await;
    assert_eq!(read.json()["code"], "registry_auth_required");
    let config = house.config_text();
    for expected in [registry.url(), provider.issuer(), CLIENT.to_owned()] {
        assert!(config.contains(&expected), "{expected}: {config}");
    }
    let cleared = house
        .call(
            Method::PUT,
            ITEM,
            &format!(
                r#"{{"api_url":"{}","allow_private_ip":true}}"#,
                registry.url()
            ),
        )
        .await;
    assert_eq!(cleared.status, 200);
    assert!(
        !house.config_text().contains(CLIENT),
        "the login is cleared"
    );
}

#[tokio::test]
async fn w11_an_update_with_a_bad_issuer_changes_nothing() {
    let (_provider, registry) = upstream().await;
    let house = house().await;
    let before = house.config_text();
    let no_issuer = format!("{}/nothing", registry.url());
    let refused = house
        .call(Method::PUT, ITEM, &update(&registry, &no_issuer))
        .await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let expected = format!(
        "failed to configure registry auth: configuring OAuth: OIDC discovery failed for issuer {no_issuer}: "
    );
    assert!(refused.text().starts_with(&expected), "{}", refused.text());
    assert_eq!(
        refused.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(house.config_text(), before);
    assert_eq!(house.get(ITEM).await.status, 200);
}

#[tokio::test]
async fn w18_a_login_for_a_source_without_use_for_it_is_refused() {
    let (provider, _registry) = upstream().await;
    let house = house().await;
    let before = house.config_text();
    let file = house.path().join("registry.json");
    let login = format!(
        r#""auth":{{"issuer":"{}","client_id":"{CLIENT}"}}"#,
        provider.issuer()
    );
    for body in [
        format!(r#"{{"local_path":"{}",{login}}}"#, file.display()),
        format!("{{{login}}}"),
    ] {
        let refused = house.call(Method::PUT, ITEM, &body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(
            refused
                .text()
                .starts_with("failed to configure registry auth: configuring OAuth: "),
            "{}",
            refused.text()
        );
    }
    assert_eq!(house.config_text(), before);
}

#[tokio::test]
async fn what_the_command_line_set_stays_when_studio_saves_the_same_login() {
    let protected = protected().await;
    let same = update(&protected.registry, &protected.provider.issuer());
    let saved = protected.house.call(Method::PUT, ITEM, &same).await;
    assert_eq!(saved.status, 200, "{}", saved.text());
    let audience = format!("audience: {}", protected.registry.url());
    let config = protected.house.config_text();
    assert!(config.contains(&audience), "{config}");
}

#[tokio::test]
async fn an_update_that_replaces_the_registry_ends_the_login_that_waits() {
    let mut protected = protected().await;
    let login = protected.post(LOGIN, &[]);
    protected.opened.recv().await.unwrap();
    let same = update(&protected.registry, &protected.provider.issuer());
    let kept = protected.house.call(Method::PUT, ITEM, &same).await;
    assert_eq!(kept.status, 200, "{}", kept.text());
    assert!(!login.is_finished(), "nothing was replaced");
    let reset = protected.house.call(Method::PUT, ITEM, "{}").await;
    assert_eq!(reset.status, 200, "{}", reset.text());
    assert_eq!(login.await.unwrap().status, 409);
}
