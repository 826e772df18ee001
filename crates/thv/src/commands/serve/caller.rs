//! Who checks the callers of our own API: what `--require-token`, `--oidc-*`, the environment and the configuration
//! say, the last three handed to the verifier of the auth crate.

use std::sync::Arc;

use thv_api::{CallerToken, Callers};
use thv_auth::inbound::{CallerPolicy, CallerVerifier};
use thv_config::world::World;
use thv_http::{Http, HttpOptions};

use crate::cli::CallerArgs;
use crate::failure::CommandError;
use crate::wire_up;

/// What callers have to show; nothing when nobody asked for anything.
pub(super) async fn callers(
    args: &CallerArgs,
    world: &World,
) -> Result<Option<Callers>, CommandError> {
    let verifier = verifier(args, world).await?;
    match (verifier, args.require_token) {
        (Some(_), true) => Err(CommandError::Serve(
            "--require-token and a login for callers (--oidc-*) exclude each other: both tokens would come in one header"
                .to_owned(),
        )),
        (Some(verifier), false) => Ok(Some(Callers::OfIssuer(verifier))),
        (None, true) => CallerToken::random()
            .map(|token| Some(Callers::WithToken(token)))
            .map_err(|error| CommandError::Serve(error.to_string())),
        (None, false) => Ok(None),
    }
}

/// The verifier that the flags ask for; none when they ask for none.
async fn verifier(
    oidc: &CallerArgs,
    world: &World,
) -> Result<Option<Arc<CallerVerifier>>, CommandError> {
    let policy = policy(oidc).with_environment(&*world.env);
    if !policy.is_enabled() {
        return Ok(None);
    }
    let failed = |error: &dyn std::error::Error| CommandError::Serve(error.to_string());
    let config = wire_up::config_store(world)?.load_async().await;
    let options = HttpOptions {
        user_agent: wire_up::user_agent(),
        // A configuration that cannot be read is told by the registry that it describes.
        extra_ca: config.ok().and_then(|config| config.ca_certificate_path),
        insecure_urls: false,
    };
    let http = Http::new(options, world).map_err(|error| failed(&error))?;
    let verifier = CallerVerifier::new(policy, http, world).map_err(|error| failed(&error))?;
    Ok(Some(Arc::new(verifier)))
}

fn policy(oidc: &CallerArgs) -> CallerPolicy {
    let given = |value: &String| Some(value.clone()).filter(|value| !value.is_empty());
    CallerPolicy {
        issuer: given(&oidc.issuer),
        audience: given(&oidc.audience),
        jwks_url: given(&oidc.jwks_url),
        introspection_url: given(&oidc.introspection_url),
        client_id: given(&oidc.client_id),
        client_secret: given(&oidc.client_secret).map(Into::into),
        ..CallerPolicy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_flags_nobody_is_checked() {
        let verifier = verifier(&CallerArgs::default(), &World::system())
            .await
            .unwrap();
        assert!(verifier.is_none());
    }

    #[tokio::test]
    async fn an_introspection_url_alone_fails_the_start() {
        let oidc = CallerArgs {
            introspection_url: "https://idp.example/introspect".to_owned(),
            ..CallerArgs::default()
        };
        let error = verifier(&oidc, &World::system()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "either issuer or JWKS URL must be provided"
        );
    }
}
