//! The logout that the desktop client sends by itself after a login that failed, and the logouts
//! that people mean.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::options;
use common::protected::{ITEM, LOGIN, REGISTRY, STUDIO, protected, protected_with, update};
use http::Method;
use thv_config::world::{Clock as _, ManualClock, SystemClock};
use thv_testkit::browse::browse;
use thv_testkit::provider::User;

#[tokio::test]
async fn studio_logs_out_after_a_failed_login_and_the_previous_login_stays() {
    let mut protected = protected().await;
    protected.log_in_as(&[STUDIO]).await;
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 403);
    let reflex = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(
        (reflex.status.as_u16(), reflex.text()),
        (
            200,
            "{\"status\":\"logged_out\",\"tokens\":[],\"deleted\":0,\"read_only_store\":false,\"previous_login_kept\":true}\n"
        )
    );
    assert_eq!(protected.get(ITEM).await.status, 200);
    assert_eq!(protected.state().await.0, "authenticated");
    let meant = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(meant.json().get("previous_login_kept"), None);
    assert_eq!(protected.get(REGISTRY).await.status, 503);
}

#[tokio::test]
async fn a_logout_of_another_client_is_meant_whatever_failed_before() {
    let mut protected = protected().await;
    protected.log_in().await;
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 403);
    assert_eq!(protected.log_out_as(&[]).await.json()["deleted"], 1);
    assert_eq!(protected.get(REGISTRY).await.status, 503);
}

#[tokio::test]
async fn a_logout_of_studio_is_meant_when_it_was_another_clients_login_that_failed() {
    let mut protected = protected().await;
    protected.log_in().await;
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in().await.status, 403);
    assert_eq!(protected.log_out_as(&[STUDIO]).await.json()["deleted"], 1);
}

#[tokio::test]
async fn a_logout_is_meant_ten_seconds_after_a_failed_login() {
    let clock = ManualClock::new(SystemClock::new().now());
    let mut options = options();
    options.clock = Arc::new(clock.clone());
    let mut protected = protected_with(options).await;
    protected.log_in().await;
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 403);
    clock.advance(Duration::from_secs(10));
    let meant = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(meant.json().get("previous_login_kept"), None);
    assert_eq!(protected.state().await.0, "login_required");
}

#[tokio::test]
async fn a_logout_is_meant_after_a_login_that_worked_in_the_end() {
    let mut protected = protected().await;
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 403);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 200);
    let meant = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(meant.json()["deleted"], 1, "{}", meant.text());
}

#[tokio::test]
async fn the_logout_after_a_login_that_was_overtaken_leaves_the_newer_one_alone() {
    let mut protected = protected().await;
    let overtaken = protected.post(LOGIN, &[STUDIO]);
    protected.opened.recv().await.unwrap();
    let same = update(&protected.registry, &protected.provider.issuer());
    let other = same.replace("\"client_id\"", "\"scopes\":[\"openid\"],\"client_id\"");
    let put = protected.house.call(Method::PUT, ITEM, &other).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(overtaken.await.unwrap().status, 409);
    let newer = protected.post(LOGIN, &[STUDIO]);
    let url = protected.opened.recv().await.unwrap();
    let reflex = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(reflex.json()["previous_login_kept"], true);
    browse(url.as_str()).await;
    assert_eq!(newer.await.unwrap().status, 200);
    let meant = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(meant.json()["deleted"], 1, "{}", meant.text());
}

#[tokio::test]
async fn the_logout_after_a_login_that_was_overtaken_may_come_after_the_newer_one() {
    let mut protected = protected().await;
    let overtaken = protected.post(LOGIN, &[STUDIO]);
    protected.opened.recv().await.unwrap();
    let same = update(&protected.registry, &protected.provider.issuer());
    let other = same.replace("\"client_id\"", "\"scopes\":[\"openid\"],\"client_id\"");
    let put = protected.house.call(Method::PUT, ITEM, &other).await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(overtaken.await.unwrap().status, 409);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 200);
    let reflex = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(reflex.json()["previous_login_kept"], true);
    assert_eq!(protected.get(ITEM).await.status, 200);
}
