//! The decision on one request.

use std::sync::Arc;

use http::HeaderValue;
use thv_config::world::World;
use thv_http::Http;

use super::introspection::introspect;
use super::issuer::Issuer;
use super::policy::{CallerPolicy, Checked, PolicyError};
use super::token::{
    Expected, Source, TokenFault, bearer_token, check_claims, looks_like_jwt, signed_by,
    signed_claims,
};

/// Checks callers' tokens. Keeps the issuer's keys between requests.
#[derive(Debug)]
pub struct CallerVerifier {
    policy: Arc<Checked>,
    issuer: Issuer,
    http: Http,
    world: World,
}

/// Why a request is not let in, in the words of RFC 6750 section 3.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// `invalid_request` when there is no token, `invalid_token` when it is not good.
    pub code: &'static str,
    /// What is wrong; holds nothing secret.
    pub description: String,
}

impl CallerVerifier {
    /// Checks the options. Nobody is asked anything yet.
    pub fn new(policy: CallerPolicy, http: Http, world: &World) -> Result<Self, PolicyError> {
        let policy = Arc::new(policy.check()?);
        let issuer = Issuer::new(http.clone(), Arc::clone(&world.clock), Arc::clone(&policy));
        Ok(Self {
            policy,
            issuer,
            http,
            world: world.clone(),
        })
    }

    /// The realm of the challenge sent to callers: the issuer, or nothing when only keys are configured.
    pub fn realm(&self) -> &str {
        self.policy.issuer.as_deref().unwrap_or_default()
    }

    /// Whether the request with this `Authorization` header is let in.
    ///
    /// The first call asks the issuer for its keys; so does a token signed with a key not seen before, twice a minute at most.
    pub async fn verify(&self, authorization: Option<&HeaderValue>) -> Result<(), Denied> {
        let token = bearer_token(authorization).map_err(|fault| Denied {
            code: "invalid_request",
            description: fault.to_string(),
        })?;
        self.verify_token(token).await.map_err(|fault| {
            tracing::debug!(%fault, "a caller was refused");
            Denied {
                code: "invalid_token",
                description: format!("Invalid token: {fault}"),
            }
        })
    }

    async fn verify_token(&self, token: &str) -> Result<(), TokenFault> {
        let (claims, source) = if looks_like_jwt(token) {
            let by = signed_by(token)?;
            let keys = self.issuer.keys_for(&by.kid).await?;
            (signed_claims(token, &by, &keys)?, Source::Jwt)
        } else {
            let endpoint = self.issuer.introspection_url().await?;
            let (client, reach) = (self.policy.client.as_ref(), self.policy.reach);
            (
                introspect(&self.http, &endpoint, client, reach, token).await?,
                Source::Introspection,
            )
        };
        let expected = Expected {
            issuer: self.policy.issuer.as_deref(),
            audience: self.policy.audience.as_deref(),
        };
        check_claims(&claims, expected, source, self.world.clock.now())
    }
}
