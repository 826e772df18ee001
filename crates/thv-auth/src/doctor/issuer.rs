//! Judgements about an identity provider's metadata: each rule that a login depends on, one by one, with the texts that were
//! compared. `crate::oauth::metadata` stops at the first fault; here all of them are named. A test holds the two against
//! each other, so that neither lets through what the other refuses.

use url::Url;

use super::check::Check;
use crate::oauth::error::FailedAttempt;
use crate::oauth::issuer::{is_same_issuer, parse_endpoint, shown_issuer};
use crate::oauth::json::Members;
use crate::oauth::metadata::Sighting;
use crate::oauth::{DiscoveryError, dpop, parse_issuer, token_server};

const URL: &str = "issuer.url";
const METADATA: &str = "issuer.metadata";
const IDENTITY: &str = "issuer.identity";
const ENDPOINTS: &str = "issuer.endpoints";
const PKCE: &str = "issuer.pkce";
const RESPONSE_ISSUER: &str = "issuer.response_issuer";
const SCOPES: &str = "issuer.scopes";
const DEVICE: &str = "issuer.device";
const REVOCATION: &str = "issuer.revocation";
const REGISTRATION: &str = "issuer.registration";
const END_SESSION: &str = "issuer.end_session";
const DPOP: &str = "issuer.dpop";

/// What a person types to name the issuer of a login.
pub(super) const BY_HAND: &str = "thv registry login --issuer URL --client-id ID";

/// What helps where the provider itself is in the way.
const BACK_LATER: &str = "see issuer.reachable; `thv doctor` again when the identity provider is back, and tell its operator if it stays so";

/// The checks that look into the document.
const OF_DOCUMENT: [&str; 10] = [
    IDENTITY,
    ENDPOINTS,
    PKCE,
    RESPONSE_ISSUER,
    SCOPES,
    DEVICE,
    REVOCATION,
    REGISTRATION,
    END_SESSION,
    DPOP,
];

/// The checks of a provider that there is no need to look at.
pub(super) fn skipped(why: &str) -> Vec<Check> {
    [URL, METADATA]
        .into_iter()
        .chain(OF_DOCUMENT)
        .map(|id| Check::skipped(id, why))
        .collect()
}

/// Whether the configured issuer can be one at all; `by_hand` names another.
pub(super) fn url(issuer: &str, by_hand: &str) -> Check {
    match parse_issuer(issuer) {
        Ok(_) => Check::ok(URL, shown_issuer(issuer)),
        Err(cause) => Check::failed(URL, format!("`{}`: {cause}", shown_issuer(issuer)), by_hand),
    }
}

/// What the documents of the provider say. `scopes` are those that a login asks for.
pub(super) fn judge(issuer: &str, scopes: &[String], seen: &[Sighting]) -> Vec<Check> {
    let Some((sighting, members)) = document(seen) else {
        let tried = DiscoveryError::NoDocument {
            attempts: seen.iter().filter_map(Sighting::attempt).collect(),
        };
        let why = "there is no document to look at";
        let fix = if tried.is_transient() {
            BACK_LATER
        } else {
            "check the issuer's spelling, byte by byte, with the operator of the identity provider; then `thv registry login --issuer URL --client-id ID`"
        };
        return std::iter::once(Check::failed(METADATA, tried.to_string(), fix))
            .chain(OF_DOCUMENT.into_iter().map(|id| Check::skipped(id, why)))
            .collect();
    };
    let document = Document {
        members: &members,
        url: &sighting.url,
        is_openid: sighting.is_openid,
    };
    vec![
        metadata(sighting),
        document.identity(issuer, BY_HAND),
        document.endpoints(),
        document.pkce(),
        document.response_issuer(),
        document.scopes(scopes),
        document.optional_endpoint(
            DEVICE,
            "device_authorization_endpoint",
            "no login with a code on another device (RFC 8628)",
            "on a machine without a browser: `thv registry login --paste`",
        ),
        document.optional_endpoint(
            REVOCATION,
            "revocation_endpoint",
            "tokens cannot be given back (RFC 7009): after a logout they work until they expire",
            "ask the operator of the identity provider to offer revocation",
        ),
        document.registration(),
        document.end_session(),
        document.dpop(),
    ]
}

/// What the documents of an authorization server say that nobody logs in at: a credential of our own needs its identity and its token
/// endpoint. `describe` is what to type to name another one.
pub(super) fn judge_server(issuer: &str, describe: &str, seen: &[Sighting]) -> Vec<Check> {
    let read = |sighting: &Sighting| match &sighting.reply {
        Ok(reply) => token_server::read(reply, issuer, &sighting.url),
        Err(fault) => Err(fault.clone()),
    };
    let attempts = seen.iter().filter_map(|sighting| {
        Some(FailedAttempt {
            url: sighting.url.clone().into(),
            form: sighting.form(),
            fault: read(sighting).err()?,
        })
    });
    let found = seen
        .iter()
        .find_map(|sighting| Some((sighting, read(sighting).ok()?)));
    let metadata = if let Some((sighting, _)) = &found {
        Check::ok(
            METADATA,
            format!("{} metadata at {}", sighting.form(), sighting.url),
        )
    } else {
        let tried = DiscoveryError::NoDocument {
            attempts: attempts.collect(),
        };
        let fix = if tried.is_transient() {
            BACK_LATER.to_owned()
        } else {
            format!(
                "check the issuer's spelling, byte by byte, with its operator, then `{describe}`"
            )
        };
        Check::failed(METADATA, tried.to_string(), fix)
    };
    let document = found
        .as_ref()
        .map(|(sighting, _)| *sighting)
        .or_else(|| document(seen).map(|(sighting, _)| sighting))
        .and_then(|sighting| {
            let members = Members::parse(&sighting.reply.as_ref().ok()?.body).ok()?;
            Some((sighting, members))
        });
    let (identity, endpoints) = match &document {
        None => {
            let why = "there is no document to look at";
            (
                Check::skipped(IDENTITY, why),
                Check::skipped(ENDPOINTS, why),
            )
        }
        Some((sighting, members)) => {
            let document = Document {
                members,
                url: &sighting.url,
                is_openid: sighting.is_openid,
            };
            (
                document.identity(issuer, describe),
                document.needs(&["token_endpoint"]),
            )
        }
    };
    let why = "only logins need it";
    let others = OF_DOCUMENT
        .into_iter()
        .filter(|id| ![IDENTITY, ENDPOINTS].contains(id));
    let others = others.map(|id| Check::skipped(id, why));
    [metadata, identity, endpoints]
        .into_iter()
        .chain(others)
        .collect()
}

/// Where the documents have such a credential ask for tokens.
pub(super) fn token_endpoint(issuer: &str, seen: &[Sighting]) -> Option<Url> {
    let replies = seen
        .iter()
        .filter_map(|sighting| Some((sighting.reply.as_ref().ok()?, &sighting.url)));
    let mut servers =
        replies.filter_map(|(reply, url)| token_server::read(reply, issuer, url).ok());
    servers.next().map(|server| server.token_endpoint)
}

/// The document that counts: the one a login would use, else the first that is one.
fn document(seen: &[Sighting]) -> Option<(&Sighting, Members)> {
    let usable = seen.iter().filter(|sighting| sighting.provider.is_ok());
    usable.chain(seen).find_map(|sighting| {
        let reply = sighting.reply.as_ref().ok()?;
        if reply.status != http::StatusCode::OK || !reply.is_json() {
            return None;
        }
        Some((sighting, Members::parse(&reply.body).ok()?))
    })
}

fn metadata(sighting: &Sighting) -> Check {
    let form = sighting.form();
    match &sighting.provider {
        Ok(_) => Check::ok(METADATA, format!("{form} metadata at {}", sighting.url)),
        Err(fault) => Check::failed(
            METADATA,
            format!("{form} metadata at {}: {fault}", sighting.url),
            "see the checks below",
        ),
    }
}

struct Document<'d> {
    members: &'d Members,
    url: &'d Url,
    is_openid: bool,
}

impl Document<'_> {
    /// `describe` is what to type to name another issuer.
    fn identity(&self, configured: &str, describe: &str) -> Check {
        let configured_shown = shown_issuer(configured);
        let fix = format!(
            "use the issuer as the document spells it: `{describe}`; if that is another host, do not use it and tell its operator"
        );
        match self.members.text("issuer") {
            Ok(Some(found)) if found == configured => {
                Check::ok(IDENTITY, format!("`{configured_shown}`, byte by byte"))
            }
            Ok(Some(found)) if is_same_issuer(configured, &found) => Check::warning(
                IDENTITY,
                format!(
                    "configured `{configured_shown}`, the document says `{}`: they differ by the slash at the end",
                    shown_issuer(&found)
                ),
                describe.replace("URL", &shown_issuer(&found)),
            ),
            Ok(Some(found)) => Check::failed(
                IDENTITY,
                format!(
                    "configured `{configured_shown}`, the document says `{}` (RFC 8414 section 3.3)",
                    shown_issuer(&found)
                ),
                fix,
            ),
            Ok(None) => Check::failed(
                IDENTITY,
                format!("configured `{configured_shown}`, the document names no issuer"),
                fix,
            ),
            Err(fault) => Check::failed(IDENTITY, fault.to_string(), fix),
        }
    }

    /// Each endpoint that a login needs: there, over https, and no address that a browser or a secret should not meet.
    fn endpoints(&self) -> Check {
        let needed: &[&'static str] = if self.is_openid {
            &["authorization_endpoint", "token_endpoint", "jwks_uri"]
        } else {
            &["authorization_endpoint", "token_endpoint"]
        };
        self.needs(needed)
    }

    fn needs(&self, needed: &[&'static str]) -> Check {
        let mut hosts = Vec::new();
        let mut faults = Vec::new();
        for member in needed {
            match self.endpoint(member) {
                Ok(Some(url)) => hosts.push(url.host_str().unwrap_or_default().to_owned()),
                Ok(None) => faults.push(format!("`{member}` is missing")),
                Err(cause) => faults.push(format!("`{member}`: {cause}")),
            }
        }
        if !self.is_openid
            && let Err(cause) = self.endpoint("jwks_uri")
        {
            faults.push(format!("`jwks_uri`: {cause}"));
        }
        hosts.sort_unstable();
        hosts.dedup();
        if faults.is_empty() {
            Check::ok(
                ENDPOINTS,
                format!("{} at {}", needed.join(", "), hosts.join(", ")),
            )
        } else {
            Check::failed(
                ENDPOINTS,
                faults.join("; "),
                "tell the operator of the identity provider: its metadata are wrong",
            )
        }
    }

    fn endpoint(&self, member: &'static str) -> Result<Option<Url>, String> {
        let text = self.members.text(member);
        let Some(text) = text.map_err(|fault| fault.to_string())? else {
            return Ok(None);
        };
        parse_endpoint(&text, self.url)
            .map(Some)
            .map_err(str::to_owned)
    }

    fn pkce(&self) -> Check {
        const MEMBER: &str = "code_challenge_methods_supported";
        let fix = "ask the operator of the identity provider to offer PKCE with S256 (RFC 7636)";
        match self.members.texts(MEMBER) {
            Ok(Some(methods)) if methods.iter().any(|method| method == "S256") => {
                Check::ok(PKCE, format!("`{MEMBER}` has {}", methods.join(", ")))
            }
            Ok(Some(methods)) => Check::failed(
                PKCE,
                format!("`{MEMBER}` has [{}] and not S256", methods.join(", ")),
                fix,
            ),
            Ok(None) => Check::warning(
                PKCE,
                format!("`{MEMBER}` is missing; S256 is sent all the same"),
                fix,
            ),
            Err(fault) => Check::failed(PKCE, fault.to_string(), fix),
        }
    }

    fn response_issuer(&self) -> Check {
        const MEMBER: &str = "authorization_response_iss_parameter_supported";
        let fix = "ask the operator of the identity provider to send `iss` (RFC 9207)";
        match self.members.boolean(MEMBER) {
            Ok(Some(true)) => Check::ok(
                RESPONSE_ISSUER,
                "each answer to a login names its issuer (RFC 9207)",
            ),
            Ok(_) => Check::warning(
                RESPONSE_ISSUER,
                "answers to logins need not name their issuer (RFC 9207): one from another provider is told by its `state` alone",
                fix,
            ),
            Err(fault) => Check::failed(RESPONSE_ISSUER, fault.to_string(), fix),
        }
    }

    fn scopes(&self, wanted: &[String]) -> Check {
        let offered = match self.members.texts("scopes_supported") {
            Ok(Some(offered)) => offered,
            Ok(None) => return Check::skipped(SCOPES, "the provider lists none"),
            Err(fault) => {
                return Check::warning(
                    SCOPES,
                    fault.to_string(),
                    "tell the operator of the identity provider: its metadata are wrong",
                );
            }
        };
        let missing: Vec<&str> = wanted
            .iter()
            .filter(|scope| !offered.contains(scope))
            .map(String::as_str)
            .collect();
        if missing.is_empty() {
            Check::ok(SCOPES, format!("{} are offered", wanted.join(", ")))
        } else {
            Check::warning(
                SCOPES,
                format!("the provider does not list {}", missing.join(", ")),
                format!(
                    "if logins fail with `invalid_scope`: `thv registry login --scopes {}`",
                    wanted
                        .iter()
                        .filter(|scope| offered.contains(scope))
                        .map(String::as_str)
                        .collect::<Vec<_>>()
                        .join(",")
                ),
            )
        }
    }

    fn optional_endpoint(
        &self,
        id: &'static str,
        member: &'static str,
        without: &str,
        fix: &str,
    ) -> Check {
        match self.endpoint(member) {
            Ok(Some(url)) => {
                Check::ok(id, format!("`{member}` is {}", thv_http::display_url(&url)))
            }
            Ok(None) => Check::warning(id, format!("`{member}` is missing: {without}"), fix),
            Err(cause) => Check::warning(
                id,
                format!("`{member}` is not used ({cause}): {without}"),
                "tell the operator of the identity provider: its metadata are wrong",
            ),
        }
    }

    /// A client is configured, so that it need not register.
    fn registration(&self) -> Check {
        let documents = self
            .members
            .boolean("client_id_metadata_document_supported")
            .ok()
            .flatten()
            .unwrap_or(false);
        let dynamic = matches!(self.endpoint("registration_endpoint"), Ok(Some(_)));
        Check::ok(
            REGISTRATION,
            match (documents, dynamic) {
                (true, true) => "client metadata documents and dynamic registration are offered",
                (true, false) => "client metadata documents are offered",
                (false, true) => "dynamic registration (RFC 7591) is offered",
                (false, false) => "not offered, and not needed with a configured client",
            },
        )
    }

    fn end_session(&self) -> Check {
        match self.endpoint("end_session_endpoint") {
            Ok(Some(_)) => Check::ok(
                END_SESSION,
                "a logout is told where a browser ends its session",
            ),
            Ok(None) | Err(_) => Check::ok(
                END_SESSION,
                "not offered: a logout here leaves the browser logged in at the provider",
            ),
        }
    }

    fn dpop(&self) -> Check {
        match self.members.texts("dpop_signing_alg_values_supported") {
            Ok(Some(algorithms)) if !algorithms.is_empty() => {
                let listed = algorithms.join(", ");
                let use_of_it = if algorithms.iter().any(|name| name == dpop::ALGORITHM) {
                    "tokens are bound to a key of each login, unless `--dpop off` was said"
                } else {
                    "keys of logins here are ES256, so that tokens are bearer tokens"
                };
                Check::ok(DPOP, format!("offered with {listed}: {use_of_it}"))
            }
            _ => Check::ok(DPOP, "not offered: tokens are bearer tokens"),
        }
    }
}

#[cfg(test)]
mod tests;
