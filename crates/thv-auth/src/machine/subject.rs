//! The token that a workload has of itself: from a file that its platform replaces, or from the token service of a GitHub Actions job.
//!
//! It is fetched for each exchange and kept nowhere. What it says of itself is looked at only to notice that it is somebody else's.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ACCEPT, HeaderValue};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use thv_config::disk::{Fingerprint, fingerprint};
use thv_config::world::Env;
use thv_http::{Bearer, Http, Limits, PlainHttp, Policy, Redirects, Request};
use url::Url;

use super::fetched::FetchError;
use super::file::read_file;
use super::secret::{Alphabet, checked};
use super::settings::SubjectSource;
use crate::oauth::issuer::parse_endpoint;
use crate::oauth::json::Members;
use crate::refresh::blocking;

/// Where a job asks for its token, and the token it asks with; both are there when a workflow has the permission `id-token: write`.
const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// The workload's token of now. `audience` is for whom it is asked, where it can be asked for somebody.
pub(crate) async fn subject_token(
    source: &SubjectSource,
    audience: &str,
    http: &Http,
    env: &Arc<dyn Env>,
) -> Result<SecretString, FetchError> {
    match source {
        SubjectSource::File(path) => {
            let path = path.clone();
            let place = format!("the file {}", path.display());
            blocking(move || read_file(&path))
                .await
                .and_then(|token| checked(token, &place, Alphabet::Token))
                .map_err(|fault| FetchError::Unusable {
                    cause: fault.to_string(),
                })
        }
        SubjectSource::GithubActions { audience: own } => {
            github_token(own.as_deref().unwrap_or(audience), http, env.as_ref()).await
        }
    }
}

/// Changes whenever the workload's token may have changed on this machine.
pub(crate) fn marks(source: &SubjectSource) -> Vec<Option<Fingerprint>> {
    match source {
        SubjectSource::File(path) => vec![fingerprint(path)],
        SubjectSource::GithubActions { .. } => Vec::new(),
    }
}

/// Why this is no GitHub Actions job that may ask for its token; `None` where it is one.
pub(crate) fn github_fault(env: &dyn Env) -> Option<String> {
    let mut names = [GITHUB_URL, GITHUB_TOKEN].into_iter();
    names.find_map(|name| variable(env, name).err())
}

fn variable(env: &dyn Env, name: &str) -> Result<String, String> {
    env.var(name).filter(|value| !value.is_empty()).ok_or_else(|| {
        format!(
            "{name} is not set: this is no GitHub Actions job, or its workflow lacks the permission `id-token: write`"
        )
    })
}

async fn github_token(
    audience: &str,
    http: &Http,
    env: &dyn Env,
) -> Result<SecretString, FetchError> {
    let unusable = |cause: String| FetchError::Unusable { cause };
    let variable = |name: &str| variable(env, name).map_err(unusable);
    let text = variable(GITHUB_URL)?;
    let place = format!("the environment variable {GITHUB_TOKEN}");
    let token = checked(variable(GITHUB_TOKEN)?.into(), &place, Alphabet::Token)
        .map_err(|fault| unusable(fault.to_string()))?;
    let bad_url = |cause: &str| unusable(format!("{GITHUB_URL} is not usable: {cause}"));
    let mut url = Url::parse(&text).map_err(|_| bad_url("it is no URL"))?;
    parse_endpoint(&text, &url).map_err(bad_url)?;
    url.query_pairs_mut().append_pair("audience", audience);
    let bearer = Bearer::for_url(token, &url);
    let request = Request::get(url)
        .bearer(bearer)
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .policy(Policy {
            allow_private_ip: true,
            plain_http: PlainHttp::Loopback,
            redirects: Redirects::Refuse,
        })
        .limits(Limits::PROBE);
    let transient = |cause: String| FetchError::Transient {
        cause: format!("the token service of GitHub Actions gives no token: {cause}"),
        retry_after: None,
    };
    let reply = http
        .send(request)
        .await
        .map_err(|error| transient(error.to_string()))?;
    if !reply.status.is_success() {
        return Err(transient(format!("it answered {}", reply.status)));
    }
    let members = Members::parse(&reply.body).map_err(|fault| transient(fault.to_string()))?;
    let value = members
        .text("value")
        .map_err(|fault| transient(fault.to_string()))?
        .ok_or_else(|| transient("its answer has no `value`".to_owned()))?;
    checked(value.into(), "its `value`", Alphabet::Token)
        .map_err(|fault| transient(fault.to_string()))
}

/// Whose token it says to be, `sub` and `iss`; `None` for one that is no JWT. Nobody has checked it: it is good for noticing a change.
pub(crate) fn account(token: &SecretString) -> Option<String> {
    let claims = claims(token)?;
    let text = |name| claims.get(name).and_then(Value::as_str);
    let named = format!("{} at {}", text("sub")?, text("iss").unwrap_or("nobody"));
    crate::oauth::answer::shown(&named, 300)
}

/// When it says to end; `None` for one that is no JWT or does not say. As little checked as [`account`].
pub(crate) fn expiry(token: &SecretString) -> Option<Timestamp> {
    Timestamp::from_second(claims(token)?.get("exp")?.as_i64()?).ok()
}

fn claims(token: &SecretString) -> Option<Value> {
    let mut parts = token.expose_secret().split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_whose_it_is_or_nothing() {
        let jwt = |claims: &str| {
            let claims = URL_SAFE_NO_PAD.encode(claims);
            account(&format!("e30.{claims}.AAAA").into())
        };
        assert_eq!(
            jwt(r#"{"sub":"system:serviceaccount:a:b","iss":"https://k8s"}"#).as_deref(),
            Some("system:serviceaccount:a:b at https://k8s")
        );
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":60}"#);
        let ends = expiry(&format!("e30.{claims}.AAAA").into());
        assert_eq!(ends, Timestamp::from_second(60).ok());
        assert_eq!(jwt(r#"{"sub":1}"#), None);
        assert_eq!(jwt("[]"), None);
        assert_eq!(account(&"opaque".to_owned().into()), None);
        assert_eq!(account(&"a.%.c".to_owned().into()), None);
    }
}
