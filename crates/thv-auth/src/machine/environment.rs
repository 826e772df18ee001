//! A token that is injected by the environment: `THV_REGISTRY_TOKEN` and the two variables that go with it.
//!
//! The token is for one origin: that of `THV_REGISTRY_TOKEN_URL`, else of the registry that was configured when the program started: who can
//! change the configuration of a running server cannot have the token sent elsewhere. Whether it comes before other ways is decided in `way`.

use std::sync::OnceLock;

use http::HeaderName;
use secrecy::SecretString;
use thv_config::world::Env;
use url::{Origin, Url};

use super::secret::{Alphabet, checked};
use super::settings::header_name;

/// The token or key itself.
pub(crate) const TOKEN_VARIABLE: &str = "THV_REGISTRY_TOKEN";

/// The URL of the registry that the token is for.
pub(crate) const URL_VARIABLE: &str = "THV_REGISTRY_TOKEN_URL";

/// The header of an API key, in place of `Authorization: Bearer`.
pub(crate) const HEADER_VARIABLE: &str = "THV_REGISTRY_TOKEN_HEADER";

/// What the environment says of a token for one registry.
#[derive(Clone, Debug)]
pub(crate) enum Injected {
    /// Nothing.
    Absent,
    /// There is a token, and it is for another origin.
    ForAnother {
        /// That origin.
        origin: String,
    },
    /// Something is there and it is no whole.
    Incomplete {
        /// What is missing or wrong.
        cause: String,
    },
    /// There is a token for this registry.
    Token {
        /// The value.
        value: SecretString,
        /// The header it travels in, when it is not `Authorization: Bearer`.
        header: Option<HeaderName>,
    },
}

impl Injected {
    /// What `env` says of a token for the registry at `url`. A token without a URL of its own is for the origin in `first`, which is that of
    /// the first registry that this is asked for.
    pub(crate) fn of(env: &dyn Env, url: &Url, first: &OnceLock<Origin>) -> Self {
        match read(env, url, first) {
            Ok(injected) => injected,
            Err(cause) => Self::Incomplete { cause },
        }
    }
}

fn read(env: &dyn Env, url: &Url, first: &OnceLock<Origin>) -> Result<Injected, String> {
    let token = env.var(TOKEN_VARIABLE);
    let bound_to = env.var(URL_VARIABLE);
    let header = env.var(HEADER_VARIABLE);
    let Some(token) = token else {
        return match (bound_to, header) {
            (None, None) => Ok(Injected::Absent),
            (Some(_), _) => Err(format!("{URL_VARIABLE} is set and {TOKEN_VARIABLE} is not")),
            (None, Some(_)) => Err(format!(
                "{HEADER_VARIABLE} is set and {TOKEN_VARIABLE} is not"
            )),
        };
    };
    let first = first.get_or_init(|| url.origin());
    let origin = match bound_to {
        None => first.clone(),
        Some(bound_to) => Url::parse(&bound_to)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| format!("{URL_VARIABLE} is no http or https URL"))?
            .origin(),
    };
    if origin != url.origin() {
        return Ok(Injected::ForAnother {
            origin: origin.ascii_serialization(),
        });
    }
    let place = format!("the environment variable {TOKEN_VARIABLE}");
    let value =
        checked(token.into(), &place, Alphabet::Token).map_err(|fault| fault.to_string())?;
    let header = header
        .map(|header| header_name(&header).map_err(|fault| format!("{HEADER_VARIABLE}: {fault}")))
        .transpose()?;
    Ok(Injected::Token { value, header })
}

#[cfg(test)]
mod tests {
    use thv_config::world::MapEnv;

    use super::*;

    #[test]
    fn the_environment_injects_a_whole_token_or_says_what_is_wrong() {
        let (token, url, header) = (TOKEN_VARIABLE, URL_VARIABLE, HEADER_VARIABLE);
        let good = (token, "s3cret-value");
        for (variables, expected) in [
            (vec![], "absent"),
            (vec![good], "token"),
            (
                vec![good, (url, "https://registry.example/other/path")],
                "token",
            ),
            (vec![good, (url, "https://registry.example:443")], "token"),
            (vec![good, (header, "X-Api-Key")], "token in x-api-key"),
            (
                vec![good, (url, "https://other.example")],
                "for https://other.example",
            ),
            (
                vec![good, (url, "http://registry.example")],
                "for http://registry.example",
            ),
            (
                vec![good, (url, "https://registry.example:8443")],
                "for https://registry.example:8443",
            ),
            (
                vec![good, (url, "registry.example")],
                "THV_REGISTRY_TOKEN_URL is no http or https URL",
            ),
            (
                vec![good, (url, "")],
                "THV_REGISTRY_TOKEN_URL is no http or https URL",
            ),
            (
                vec![good, (header, "Host")],
                "THV_REGISTRY_TOKEN_HEADER: the header `host` cannot carry a key: HTTP itself uses it",
            ),
            (
                vec![(url, "https://registry.example")],
                "THV_REGISTRY_TOKEN_URL is set and THV_REGISTRY_TOKEN is not",
            ),
            (
                vec![(header, "X-Api-Key")],
                "THV_REGISTRY_TOKEN_HEADER is set and THV_REGISTRY_TOKEN is not",
            ),
            (
                vec![(token, "")],
                "the environment variable THV_REGISTRY_TOKEN holds nothing",
            ),
            (
                vec![(token, "a b")],
                "the environment variable THV_REGISTRY_TOKEN cannot be used: the value holds blanks, line ends or characters that no header can carry",
            ),
        ] {
            let env = variables.iter().fold(MapEnv::new(), |env, (name, value)| {
                env.with_var(*name, *value)
            });
            let registry = Url::parse("https://registry.example/v1").expect("url");
            let found = match Injected::of(&env, &registry, &OnceLock::new()) {
                Injected::Absent => "absent".to_owned(),
                Injected::ForAnother { origin } => format!("for {origin}"),
                Injected::Incomplete { cause } => cause,
                Injected::Token { header: None, .. } => "token".to_owned(),
                Injected::Token {
                    header: Some(header),
                    ..
                } => format!("token in {header}"),
            };
            assert_eq!(found, expected, "{variables:?}");
        }
    }
}
