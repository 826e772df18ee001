//! A provider's signing keys (RFC 7517), fetched when needed and kept for an hour.
//!
//! Which key a token needs, and whether it fits, is decided in `id_token`. Keys of kinds we do not know are left out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use serde_json::value::RawValue;
use thv_http::{Http, Limits, Policy, Redirects, Request};
use tokio::sync::Mutex;
use url::Url;

use crate::oauth::json::Members;

/// How long fetched keys are believed: a withdrawn key is out of use after this.
const KEPT: Duration = Duration::from_hours(1);

/// Most keys of one set that are looked at.
const KEYS_MAX: usize = 100;

/// Most providers whose keys are kept.
const SETS_MAX: usize = 16;

/// The key sets of the providers in use. Clones share them. One fetch runs at a time.
#[derive(Clone, Debug, Default)]
pub struct KeyCache {
    sets: Arc<Mutex<HashMap<Url, KeySet>>>,
}

/// Whether kept keys will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Kept keys, if they are not too old.
    Kept,
    /// Keys fetched now: the kept ones do not have what a token needs.
    Fresh,
}

/// The keys of one provider.
#[derive(Clone, Debug)]
pub(crate) struct KeySet {
    pub(crate) keys: Arc<[Jwk]>,
    fetched_at: Timestamp,
}

impl KeyCache {
    /// A cache without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The keys at `url`, and whether they were fetched for this call.
    pub(crate) async fn keys(
        &self,
        http: &Http,
        url: &Url,
        policy: Policy,
        now: Timestamp,
        want: Want,
    ) -> Result<(Arc<[Jwk]>, bool), String> {
        let mut sets = self.sets.lock().await;
        if want == Want::Kept
            && let Some(set) = sets.get(url)
            && set.is_current(now)
        {
            return Ok((Arc::clone(&set.keys), false));
        }
        let keys = fetch(http, url, policy).await?;
        if sets.len() >= SETS_MAX {
            sets.clear();
        }
        sets.insert(
            url.clone(),
            KeySet {
                keys: Arc::clone(&keys),
                fetched_at: now,
            },
        );
        Ok((keys, true))
    }
}

impl KeySet {
    fn is_current(&self, now: Timestamp) -> bool {
        // A clock that was set back makes the age negative; such keys are fetched anew.
        Duration::try_from(now.duration_since(self.fetched_at)).is_ok_and(|age| age < KEPT)
    }
}

async fn fetch(http: &Http, url: &Url, policy: Policy) -> Result<Arc<[Jwk]>, String> {
    let request = Request::get(url.clone())
        .policy(policy.with_redirects(Redirects::SameHost))
        .limits(Limits::PROBE);
    let reply = http
        .send(request)
        .await
        .map_err(|error| error.to_string())?;
    if reply.status != http::StatusCode::OK {
        return Err(format!("the answer has status {}", reply.status.as_u16()));
    }
    read(&reply.body)
}

/// Reads a key set. Keys that cannot be used for a signature are left out, whatever is wrong with them.
fn read(body: &[u8]) -> Result<Arc<[Jwk]>, String> {
    let members = Members::parse(body).map_err(|fault| fault.to_string())?;
    let keys: Vec<&RawValue> = members
        .raw("keys")
        .and_then(|raw| serde_json::from_str(raw).ok())
        .ok_or("it has no `keys`")?;
    Ok(keys
        .into_iter()
        .take(KEYS_MAX)
        .filter_map(|raw| serde_json::from_str::<Jwk>(raw.get()).ok())
        .filter(checks_signatures)
        .collect())
}

/// Whether the key is public, of a kind we know, and meant for signatures if it says what for.
fn checks_signatures(key: &Jwk) -> bool {
    let is_public = matches!(
        key.algorithm,
        AlgorithmParameters::RSA(_)
            | AlgorithmParameters::EllipticCurve(_)
            | AlgorithmParameters::OctetKeyPair(_)
    );
    let is_for_signatures = matches!(
        key.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    is_public && is_for_signatures
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_of_unknown_kinds_do_not_spoil_the_set() {
        let keys = read(
            br#"{"keys":[
                {"kty":"XYZ","kid":"1"}, 7, {}, {"kty":"RSA","kid":"2"},
                {"kty":"RSA","kid":"3","use":"enc","n":"AQAB","e":"AQAB"},
                {"kty":"RSA","kid":"4","use":"sig","n":"AQAB","e":"AQAB","alg":"NEW"}
            ]}"#,
        )
        .expect("set");
        let names: Vec<_> = keys
            .iter()
            .map(|key| key.common.key_id.as_deref())
            .collect();
        assert_eq!(names, [Some("4")]);
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_key_set_panics(body in proptest::collection::vec(any::<u8>(), 0..200), key in any::<String>()) {
            let _ = read(&body);
            let set = serde_json::json!({"keys": [{"kty": "RSA", "n": key, "e": key, "kid": key}]});
            let _ = read(set.to_string().as_bytes());
        }
    }
}
