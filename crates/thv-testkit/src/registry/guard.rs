//! What a protected registry asks of a request: a bearer that its provider has issued, for it, still valid.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::routes;
use crate::client::{Address, Call};
use crate::journal::BearerSeen;
use crate::jwt::{fingerprint, verify};
use crate::listening::Whole;
use crate::proof::{BadProof, Proofs};
use crate::provider::Provider;

type Keys = Arc<dyn Fn() -> Vec<Value> + Send + Sync>;
type Now = Arc<dyn Fn() -> i64 + Send + Sync>;
type Introspect = Arc<dyn Fn(&str) -> Option<Value> + Send + Sync>;

/// The rules of protection: which issuer's tokens, for which audience, with which scope.
#[derive(Clone)]
pub struct Guard {
    issuer: String,
    audience: Option<String>,
    scope: Option<String>,
    scope_in_vain: bool,
    keys: Keys,
    now: Now,
    introspect: Option<Introspect>,
    key: Option<(String, String)>,
    proofs: bool,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Trusts the in-process provider, its clock, and what it says about opaque tokens.
    pub fn of(provider: &Provider, audience: &str) -> Self {
        let (keys, clock, book) = (provider.handle(), provider.handle(), provider.handle());
        Guard {
            issuer: provider.issuer(),
            audience: Some(audience.to_owned()),
            scope: None,
            scope_in_vain: false,
            keys: Arc::new(move || keys.public_keys()),
            now: Arc::new(move || clock.now()),
            introspect: Some(Arc::new(move |token| book.introspect(token))),
            key: None,
            proofs: false,
        }
    }

    /// Trusts the provider behind `issuer`, with the keys it publishes now and the machine's clock.
    ///
    /// # Panics
    /// When its keys cannot be fetched.
    pub async fn of_issuer(issuer: &str, audience: &str) -> Self {
        let (address, path) = Address::of_url(issuer).expect("an issuer on loopback");
        let discovered = Call::get(&format!(
            "{}/.well-known/openid-configuration",
            path.trim_end_matches('/')
        ))
        .to(&address)
        .await
        .json();
        let jwks = discovered["jwks_uri"].as_str().expect("a jwks_uri");
        let (address, path) = Address::of_url(jwks).expect("keys on loopback");
        let keys = Call::get(&path).to(&address).await.json();
        let keys = keys["keys"].as_array().expect("keys").clone();
        Guard {
            issuer: issuer.to_owned(),
            audience: Some(audience.to_owned()),
            scope: None,
            scope_in_vain: false,
            keys: Arc::new(move || keys.clone()),
            now: Arc::new(|| jiff::Timestamp::now().as_second()),
            introspect: None,
            key: None,
            proofs: false,
        }
    }

    /// Takes nothing but `key` as the whole value of the header `name`; without a name, as a bearer.
    pub fn of_key(name: Option<&str>, key: &str) -> Self {
        Guard {
            issuer: String::new(),
            audience: None,
            scope: None,
            scope_in_vain: false,
            keys: Arc::new(Vec::new),
            now: Arc::new(|| jiff::Timestamp::now().as_second()),
            introspect: None,
            key: Some((name.unwrap_or_default().to_owned(), key.to_owned())),
            proofs: false,
        }
    }

    /// Wants this issuer in tokens: for a provider that calls itself something else than the address it is asked at.
    #[must_use]
    pub fn named(mut self, issuer: &str) -> Self {
        issuer.clone_into(&mut self.issuer);
        self
    }

    /// Knows proofs of keys (RFC 9449): a token that is bound to one comes with a proof or not at all.
    #[must_use]
    pub fn proofs(mut self) -> Self {
        self.proofs = true;
        self
    }

    /// Asks for this scope too; a token without it is answered with 403.
    #[must_use]
    pub fn scope(mut self, scope: &str) -> Self {
        self.scope = Some(scope.to_owned());
        self
    }

    /// Asks for this scope, and answers 403 to a token that has it, too.
    #[must_use]
    pub fn scope_in_vain(self, scope: &str) -> Self {
        Guard {
            scope_in_vain: true,
            ..self.scope(scope)
        }
    }

    /// Takes tokens for any audience, as registries do whose provider knows no resources.
    #[must_use]
    pub fn any_audience(mut self) -> Self {
        self.audience = None;
        self
    }

    pub(super) fn now(&self) -> i64 {
        (self.now)()
    }

    /// Whether the token is good; the key that it is bound to, where there is one and it counts.
    fn check(&self, token: &str) -> Result<Option<String>, Refusal> {
        let invalid = |why: String| Refusal::Invalid(why);
        if let Some((_, key)) = &self.key {
            return (token == key)
                .then_some(None)
                .ok_or_else(|| invalid("another key".to_owned()));
        }
        let claims = match &self.introspect {
            Some(introspect) if !token.contains('.') => {
                introspect(token).ok_or_else(|| invalid("an unknown token".to_owned()))?
            }
            _ => {
                let (head, claims) = verify(token, &(self.keys)()).map_err(invalid)?;
                if head["typ"] != "at+jwt" {
                    return Err(invalid(format!("a token of type {}", head["typ"])));
                }
                claims
            }
        };
        if claims["iss"] != self.issuer.as_str() {
            return Err(invalid(format!("issuer {}", claims["iss"])));
        }
        let fits = |audience: &str| match &claims["aud"] {
            Value::Array(all) => all.iter().any(|one| one == audience),
            one => one == audience,
        };
        if self.audience.as_deref().is_some_and(|wanted| !fits(wanted)) {
            return Err(invalid(format!("audience {}", claims["aud"])));
        }
        // Both are whole seconds, rounded down: a token lives the time that its issuer has named, and not a part of it.
        if claims["exp"].as_i64().is_none_or(|end| end < self.now()) {
            return Err(invalid("expired".to_owned()));
        }
        let granted = claims["scope"].as_str().unwrap_or_default();
        match &self.scope {
            Some(wanted)
                if self.scope_in_vain || !granted.split(' ').any(|scope| scope == wanted) =>
            {
                Err(Refusal::Scope(wanted.clone()))
            }
            _ => Ok(claims["cnf"]["jkt"]
                .as_str()
                .filter(|_| self.proofs)
                .map(str::to_owned)),
        }
    }
}

#[derive(Debug)]
enum Refusal {
    Missing,
    Invalid(String),
    Scope(String),
    Proof(BadProof),
}

/// The guard of a registry and what it was told to do beside the rules.
#[derive(Debug, Default)]
pub(super) struct Gatehouse {
    pub(super) guard: Option<Guard>,
    pub(super) proofs: Proofs,
    /// How many good tokens are still to be refused.
    pub(super) refuse: usize,
    /// Fingerprints of tokens that are refused whatever they say.
    pub(super) banned: Vec<String>,
    /// What is in `WWW-Authenticate` of the answer to a request without a token, in place of the honest challenge.
    pub(super) challenges: Option<Vec<String>>,
    /// The resource metadata in place of the honest ones.
    pub(super) described: Option<Value>,
    /// Whether paths besides the guarded API are let through, as `url` documents on open hosts are.
    pub(super) open_paths: Vec<String>,
}

impl Gatehouse {
    /// What came, and the refusal if there is one.
    pub(super) fn examine(
        &mut self,
        parts: &Parts,
        metadata: &str,
    ) -> (Option<BearerSeen>, Option<Whole>) {
        let name = match self.guard.as_ref().and_then(|guard| guard.key.as_ref()) {
            Some((name, _)) if !name.is_empty() => name.as_str(),
            _ => header::AUTHORIZATION.as_str(),
        };
        let header = parts.headers.get(name);
        let proofs = self.guard.as_ref().is_some_and(|guard| guard.proofs);
        let mut is_proven = false;
        let token = header.map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            match text.split_once(' ') {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                    token.trim().to_owned()
                }
                Some((scheme, token)) if proofs && scheme.eq_ignore_ascii_case("dpop") => {
                    is_proven = true;
                    token.trim().to_owned()
                }
                _ => text,
            }
        });
        let verdict = self.verdict(parts, token.as_deref(), is_proven);
        let seen = token.map(|token| BearerSeen {
            fingerprint: fingerprint(&token),
            refused: match &verdict {
                Ok(()) | Err(Refusal::Missing) => None,
                Err(Refusal::Invalid(why)) => Some(why.clone()),
                Err(Refusal::Scope(scope)) => Some(format!("no scope {scope}")),
                Err(Refusal::Proof(fault)) => Some(format!("{fault:?}")),
            },
        });
        let challenges = self.challenges.as_deref();
        let refused = verdict.err().map(|refusal| match (&refusal, challenges) {
            (Refusal::Missing, Some(challenges)) => challenged(challenges),
            _ => answer(&refusal, metadata, proofs),
        });
        (seen, refused)
    }

    fn verdict(
        &mut self,
        parts: &Parts,
        token: Option<&str>,
        is_proven: bool,
    ) -> Result<(), Refusal> {
        let path = parts.uri.path();
        let open = |prefix: &String| path.starts_with(prefix.as_str());
        let Some(guard) = self
            .guard
            .as_ref()
            .filter(|_| !self.open_paths.iter().any(open))
        else {
            return Ok(());
        };
        let token = token.ok_or(Refusal::Missing)?;
        let bound = guard.check(token)?;
        if bound.is_some() || is_proven {
            let host = parts.headers.get(header::HOST).map(HeaderValue::as_bytes);
            let host = String::from_utf8_lossy(host.unwrap_or_default());
            let url = format!("http://{host}{path}");
            let shown = is_proven.then(|| self.proofs.check(parts, &url, Some(token), guard.now()));
            let shown = shown.transpose().map_err(Refusal::Proof)?.flatten();
            if shown.is_none() || bound != shown {
                let why = "no proof of the token's key".to_owned();
                return Err(Refusal::Proof(BadProof::Invalid(why)));
            }
        }
        if self.banned.contains(&fingerprint(token)) {
            return Err(Refusal::Invalid("told to refuse this token".to_owned()));
        }
        if self.refuse > 0 {
            self.refuse -= 1;
            return Err(Refusal::Invalid("told to refuse".to_owned()));
        }
        Ok(())
    }
}

/// 401 with these fields.
fn challenged(challenges: &[String]) -> Whole {
    let mut answer = routes::problem(StatusCode::UNAUTHORIZED, "not authorized");
    for challenge in challenges {
        let value = HeaderValue::from_bytes(challenge.as_bytes()).expect("a header value");
        answer.headers_mut().append(header::WWW_AUTHENTICATE, value);
    }
    answer
}

fn answer(refusal: &Refusal, metadata: &str, proofs: bool) -> Whole {
    let scheme = if proofs { "DPoP" } else { "Bearer" };
    let base = format!("{scheme} realm=\"MCP Registry\", resource_metadata=\"{metadata}\"");
    let (status, challenge) = match refusal {
        Refusal::Missing => (StatusCode::UNAUTHORIZED, base),
        Refusal::Invalid(_) => (
            StatusCode::UNAUTHORIZED,
            format!(
                "{base}, error=\"invalid_token\", error_description=\"The token is not valid here\""
            ),
        ),
        Refusal::Proof(fault) => (
            StatusCode::UNAUTHORIZED,
            format!("{base}, error=\"{}\", algs=\"ES256\"", fault.error()),
        ),
        Refusal::Scope(scope) => (
            StatusCode::FORBIDDEN,
            format!("{base}, error=\"insufficient_scope\", scope=\"{scope}\""),
        ),
    };
    let mut answer = routes::problem(status, "not authorized");
    answer.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_str(&challenge).expect("a header value"),
    );
    if let Refusal::Proof(BadProof::Nonce(nonce)) = refusal {
        let nonce = HeaderValue::from_str(nonce).expect("a nonce");
        answer.headers_mut().insert("dpop-nonce", nonce);
    }
    answer
}

/// The protected resource metadata of RFC 9728.
pub(super) fn resource_metadata(guard: &Guard, url: &str) -> Value {
    serde_json::json!({
        "resource": guard.audience.as_deref().unwrap_or(url),
        "authorization_servers": [guard.issuer],
        "bearer_methods_supported": ["header"],
        "scopes_supported": guard.scope.iter().collect::<Vec<_>>(),
    })
}
