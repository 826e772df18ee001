//! Logins to what is configured: what they may change in the configuration, and when.

use thv_auth::AuthFailure;
use thv_auth::login::LoginError;
use thv_testkit::provider::User;

use crate::support::House;

/// The scopes of the authorization request.
fn scopes(url: &url::Url) -> String {
    let mut pairs = url.query_pairs();
    pairs
        .find_map(|(name, value)| (name == "scope").then(|| value.into_owned()))
        .expect("scopes")
}

#[tokio::test(flavor = "multi_thread")]
async fn more_scopes_are_configured_when_somebody_has_logged_in_with_them_and_not_before() {
    let house = House::new().await;
    let narrow = house.binding();
    house.log_in().await;
    let before = house.config_text();
    let wanted = ["registry:write".to_owned()];
    house.vault.want_scopes(&narrow, &wanted).unwrap();

    // Refused, and given up: both leave the file as it was, and the grant from before.
    house.provider.users([User::Denies]);
    let (url, task) = house.start().await;
    assert_eq!(scopes(&url), "openid offline_access registry:write");
    assert_eq!(house.config_text(), before, "only asked for");
    let _ = thv_testkit::browse::browse(url.as_str()).await;
    let denied = task.await.unwrap().unwrap_err();
    assert!(matches!(
        denied,
        AuthFailure::Login(LoginError::Denied { .. })
    ));
    let (_, task) = house.start().await;
    task.abort();
    assert!(task.await.is_err());
    assert_eq!(house.config_text(), before);
    assert!(house.vault.load(&narrow).unwrap().is_some());

    house.log_in().await;
    let wide = house.binding();
    assert_eq!(wide.scopes, ["openid", "offline_access", "registry:write"]);
    let grant = house.vault.load(&wide).unwrap().expect("a grant");
    assert!(grant.dead.is_none());
    assert!(house.vault.wanted_scopes(&wide).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_more_scopes_is_joined_and_ended_by_the_name_of_the_configured_one() {
    let house = House::new().await;
    let narrow = house.binding();
    let wanted = ["registry:write".to_owned()];
    house.vault.want_scopes(&narrow, &wanted).unwrap();
    let first = house.auth.start_login(house.how()).await.unwrap();
    assert_eq!(first.view.binding.scopes.len(), 3);
    let second = house.auth.start_login(house.how()).await.unwrap();
    assert!(second.joined);
    assert_eq!(second.view.id, first.view.id);
    assert!(house.auth.report().await.unwrap().pending_login.is_some());
    house.auth.logout().await.unwrap();
    let watch = house.auth.watch_login(first.view.id.as_str()).unwrap();
    assert_eq!(watch.outcome().await, Err(LoginError::Cancelled));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_more_scopes_counts_for_nothing_when_something_else_was_configured() {
    let house = House::new().await;
    let narrow = house.binding();
    let wanted = ["registry:write".to_owned()];
    house.vault.want_scopes(&narrow, &wanted).unwrap();
    let (url, task) = house.start().await;
    let other = house.config_text().replace("thv-cli", "another");
    std::fs::write(house.config.path(), &other).unwrap();
    let _ = thv_testkit::browse::browse(url.as_str()).await;
    let ended = task.await.unwrap().unwrap_err();
    assert!(matches!(ended, AuthFailure::Login(LoginError::Cancelled)));
    assert_eq!(house.config_text(), other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_written_is_no_login_with_more_scopes() {
    let house = House::new().await;
    let narrow = house.binding();
    house.log_in().await;
    let before = house.config_text();
    let wanted = ["registry:write".to_owned()];
    house.vault.want_scopes(&narrow, &wanted).unwrap();
    let (url, task) = house.start().await;
    // The lock of the file cannot be made where a directory is.
    let lock = house.config.lock_file();
    let _ = std::fs::remove_file(&lock);
    std::fs::create_dir_all(&lock).unwrap();
    let _ = thv_testkit::browse::browse(url.as_str()).await;
    let failed = task.await.unwrap().unwrap_err();
    let AuthFailure::Login(LoginError::NotStored { .. }) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(house.config_text(), before);
    assert!(house.vault.load(&narrow).unwrap().is_some());
    let mut wide = narrow.clone();
    wide.scopes.push("registry:write".to_owned());
    assert!(house.vault.load(&wide).unwrap().is_none());
}
