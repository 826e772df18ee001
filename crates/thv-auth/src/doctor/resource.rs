//! Judgements about what the registry says of itself (RFC 9728): whether its metadata are about the registry that is
//! configured, whether they name the configured issuer, and whether a login asks for its scopes. The texts that were compared
//! are shown. A login that is configured by hand needs none of this, so that most differences are warnings there.

use super::check::Check;
use crate::binding::Binding;
use crate::oauth::challenge::BearerChallenge;
use crate::oauth::issuer::{is_same_issuer, shown_issuer};
use crate::oauth::resource::{ResourceError, ResourceFault, ResourceMetadata};
use crate::relaxation::{Relaxation, Relaxations};

const METADATA: &str = "registry.metadata";
const ISSUER: &str = "registry.issuer";
const SCOPES: &str = "registry.scopes";

/// Whom the differences are for to repair.
const TELL_OPERATOR: &str = "tell the registry's operator";

/// What a person types who knows where to log in.
const BY_HAND: &str = "thv registry login --issuer URL --client-id ID";

/// What the registry says of itself, as it was found.
#[derive(Debug)]
pub(super) struct ResourceSight {
    /// The registry's URL, letter by letter as the configuration has it.
    pub(super) configured: String,
    /// What it asked for.
    pub(super) challenge: BearerChallenge,
    /// Its metadata.
    pub(super) found: Result<ResourceMetadata, ResourceError>,
}

/// What the registry's words are compared with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'b> {
    /// A login, and the rules that hold for it.
    Login(&'b Binding, &'b Held),
    /// A credential that needs no login.
    Credential,
    /// Nothing is configured.
    Nothing,
}

/// The rules for a login, as it would be made now.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// Whether what the registry says of itself has to fit, but for these.
    pub(super) strict: bool,
    /// The rules that do not hold.
    pub(super) relaxed: Relaxations,
}

impl Held {
    fn relaxes(&self, rule: Relaxation) -> bool {
        self.relaxed.contains(&rule)
    }
}

/// The checks of a registry that there is no need to look at.
pub(super) fn skipped(why: &str) -> Vec<Check> {
    [METADATA, ISSUER, SCOPES]
        .into_iter()
        .map(|id| Check::skipped(id, why))
        .collect()
}

/// What is to be said of the registry's metadata.
pub(super) fn judge(sight: &ResourceSight, wanted: Wanted<'_>) -> Vec<Check> {
    let metadata = sight.found.as_ref().ok();
    vec![
        match &sight.found {
            Ok(metadata) => sight.describe(metadata, wanted),
            Err(error) => sight.unusable(error, wanted),
        },
        issuer(metadata.filter(|metadata| counts(metadata, wanted)), wanted),
        scopes(
            &sight.challenge,
            metadata.filter(|metadata| counts(metadata, wanted)),
            wanted,
        ),
    ]
}

/// Whether a login believes a document that it comes by: one about a parent path only where that rule does not hold.
fn counts(metadata: &ResourceMetadata, wanted: Wanted<'_>) -> bool {
    let holds = |rule: &Relaxation| match wanted {
        Wanted::Login(_, held) => !held.relaxes(*rule),
        Wanted::Credential | Wanted::Nothing => true,
    };
    !metadata.relaxed.iter().any(holds)
}

impl ResourceSight {
    /// A document that is about the registry.
    fn describe(&self, metadata: &ResourceMetadata, wanted: Wanted<'_>) -> Check {
        let place = thv_http::display_url(&metadata.url);
        let named = &metadata.resource;
        let parent_path = Relaxation::ResourceParentPath;
        if metadata.relaxed.contains(&parent_path) {
            let about = compared(
                "configured",
                &self.configured,
                "the document is about",
                named,
            );
            let evidence = format!("at {place}: {about} ({parent_path})");
            return match wanted {
                Wanted::Login(_, held) if held.strict && !held.relaxes(parent_path) => {
                    Check::failed(
                        METADATA,
                        evidence,
                        format!(
                            "if you trust that: `thv registry login --relax {parent_path}`; otherwise {TELL_OPERATOR}"
                        ),
                    )
                }
                _ => Check::warning(METADATA, evidence, TELL_OPERATOR),
            };
        }
        if let Wanted::Login(binding, _) = wanted
            && let Some(asked) = &binding.resource
            && asked != named
        {
            return Check::warning(
                METADATA,
                format!(
                    "at {place}: {}",
                    compared(
                        "a login asks for a token for",
                        asked,
                        "the registry is",
                        named
                    )
                ),
                format!("thv registry login --audience {}", typed(named, "URI")),
            );
        }
        if let Some(pointer) = self.unused_pointer(metadata) {
            return Check::warning(
                METADATA,
                format!(
                    "at {place}, about `{}`; its challenge points to `{pointer}`, which is not used (RFC 9728 section 5.1)",
                    shown_resource(named)
                ),
                TELL_OPERATOR,
            );
        }
        Check::ok(
            METADATA,
            format!("at {place}, about `{}`", shown_resource(named)),
        )
    }

    /// Where the challenge points, when the metadata were found elsewhere.
    fn unused_pointer(&self, metadata: &ResourceMetadata) -> Option<String> {
        let pointers = &self.challenge.resource_metadata;
        let is_used = pointers
            .iter()
            .any(|pointer| url::Url::parse(pointer).is_ok_and(|url| url == metadata.url));
        let first = pointers.first().filter(|_| !is_used)?;
        Some(shown_resource(first))
    }

    /// No document, or none that is about the registry.
    fn unusable(&self, error: &ResourceError, wanted: Wanted<'_>) -> Check {
        let attempts: Vec<String> = error
            .attempts
            .iter()
            .map(|(place, fault)| format!("at {}: {}", shown_resource(place), self.told(fault)))
            .collect();
        let attempts = attempts.join("; ");
        if error.is_absent() {
            let none = format!("it publishes none ({attempts})");
            return match wanted {
                Wanted::Login(..) => Check::ok(
                    METADATA,
                    format!("{none}, and a login that is configured by hand needs none"),
                ),
                Wanted::Credential => Check::ok(
                    METADATA,
                    format!("{none}, and the configured credential needs none"),
                ),
                Wanted::Nothing => Check::warning(
                    METADATA,
                    format!("{none}, so that it cannot be found out where to log in"),
                    BY_HAND,
                ),
            };
        }
        if error.is_transient() {
            return Check::skipped(METADATA, attempts);
        }
        let fix = error
            .attempts
            .iter()
            .find_map(|(_, fault)| match fault {
                ResourceFault::OtherResource { found, .. } if self.is_here(found) => Some(format!(
                    "if the document is right: `thv registry login --registry {}`; otherwise {TELL_OPERATOR}",
                    typed(found, "URL")
                )),
                _ => None,
            })
            .unwrap_or_else(|| TELL_OPERATOR.to_owned());
        match wanted {
            Wanted::Nothing => Check::failed(METADATA, attempts, fix),
            Wanted::Login(_, held) if held.strict && error.breaks_a_rule() => {
                Check::failed(METADATA, attempts, fix)
            }
            Wanted::Login(..) | Wanted::Credential => Check::warning(METADATA, attempts, fix),
        }
    }

    /// Whether an address is on the registry's own origin: no other is a thing to be told to type by it.
    fn is_here(&self, address: &str) -> bool {
        let origin = |text: &str| url::Url::parse(text).map(|url| url.origin()).ok();
        origin(address).is_some_and(|theirs| Some(theirs) == origin(&self.configured))
    }

    fn told(&self, fault: &ResourceFault) -> String {
        match fault {
            ResourceFault::OtherResource { found, .. } => format!(
                "{} (RFC 9728 section 3.3)",
                compared(
                    "configured",
                    &self.configured,
                    "the document is about",
                    found
                )
            ),
            fault => fault.to_string(),
        }
    }
}

/// Whether the registry takes tokens of the configured issuer.
fn issuer(metadata: Option<&ResourceMetadata>, wanted: Wanted<'_>) -> Check {
    let Some(metadata) = metadata else {
        return Check::skipped(ISSUER, "there are no metadata to look at");
    };
    let listed: Vec<String> = metadata
        .authorization_servers
        .iter()
        .map(|issuer| format!("`{}`", shown_issuer(issuer)))
        .collect();
    let listed = listed.join(", ");
    let Wanted::Login(binding, held) = wanted else {
        return match wanted {
            _ if listed.is_empty() => Check::skipped(ISSUER, "it names no issuer"),
            Wanted::Nothing => Check::ok(
                ISSUER,
                format!(
                    "it takes logins of {listed}: `thv registry login` with its URL finds them"
                ),
            ),
            _ => Check::skipped(
                ISSUER,
                format!("it takes logins of {listed}; none is configured"),
            ),
        };
    };
    let configured = &binding.issuer;
    if listed.is_empty() {
        return Check::ok(ISSUER, "it names no issuer; the configured one counts");
    }
    if metadata.authorization_servers.contains(configured) {
        return Check::ok(
            ISSUER,
            format!("`{}`, byte by byte", shown_issuer(configured)),
        );
    }
    let mut servers = metadata.authorization_servers.iter();
    if let Some(same) = servers.find(|issuer| is_same_issuer(configured, issuer)) {
        return Check::warning(
            ISSUER,
            format!(
                "{}; the slash at the end alone is conceded ({})",
                compared("configured", configured, "the registry says", same),
                Relaxation::IssuerRootSlash
            ),
            format!(
                "if issuer.identity says so too: `thv registry login --issuer {} --client-id {}`; otherwise {TELL_OPERATOR}",
                typed(same, "URL"),
                typed(&binding.client_id, "ID")
            ),
        );
    }
    let evidence = match metadata.authorization_servers.as_slice() {
        [only] => compared("configured", configured, "the registry says", only),
        _ => format!(
            "configured `{}`, the registry takes logins of {listed}",
            shown_issuer(configured)
        ),
    };
    if held.relaxes(Relaxation::UnlistedIssuer) {
        return Check::warning(
            ISSUER,
            format!(
                "{evidence}; a login is made all the same ({})",
                Relaxation::UnlistedIssuer
            ),
            TELL_OPERATOR,
        );
    }
    Check::failed(
        ISSUER,
        evidence,
        format!(
            "`thv registry login {}` asks the registry where to log in and shows it; if the configured issuer is right, {TELL_OPERATOR}",
            typed(&binding.configured_url, "URL")
        ),
    )
}

/// Whether a login asks for what the registry wants: the scopes of its challenge, else one of those that it lists.
fn scopes(
    challenge: &BearerChallenge,
    metadata: Option<&ResourceMetadata>,
    wanted: Wanted<'_>,
) -> Check {
    let Wanted::Login(binding, _) = wanted else {
        return Check::skipped(SCOPES, "no login is configured");
    };
    let asked = binding.scopes.join(", ");
    let supported = metadata.and_then(|metadata| metadata.scopes_supported.as_ref());
    let (missing, evidence) = match (&challenge.scope, supported) {
        (Some(required), _) => {
            let missing: Vec<&String> = required
                .iter()
                .filter(|scope| !binding.scopes.contains(scope))
                .collect();
            (
                missing,
                format!("its challenge asks for {}", required.join(", ")),
            )
        }
        (None, Some(listed)) if !listed.is_empty() => {
            let is_one_asked = listed.iter().any(|scope| binding.scopes.contains(scope));
            let missing = listed.iter().filter(|_| !is_one_asked).collect();
            (missing, format!("its metadata list {}", listed.join(", ")))
        }
        _ => return Check::skipped(SCOPES, "it names no scopes"),
    };
    let evidence = format!("{evidence}; a login asks for {asked}");
    if missing.is_empty() {
        return Check::ok(SCOPES, evidence);
    }
    let all: Vec<&str> = binding
        .scopes
        .iter()
        .chain(missing)
        .map(String::as_str)
        .collect();
    Check::warning(
        SCOPES,
        evidence,
        format!(
            "thv registry login --scopes {}",
            typed(&all.join(","), "SCOPES")
        ),
    )
}

/// Two texts that should be one, and from where on they are not.
fn compared(of_ours: &str, ours: &str, of_theirs: &str, theirs: &str) -> String {
    let same = ours
        .bytes()
        .zip(theirs.bytes())
        .take_while(|(one, other)| one == other)
        .count();
    format!(
        "{of_ours} `{}`, {of_theirs} `{}`: they differ from byte {} on",
        shown_resource(ours),
        shown_resource(theirs),
        same.saturating_add(1)
    )
}

/// A URL fit to be shown, without what could be a password.
fn shown_resource(text: &str) -> String {
    match text.split_once('?') {
        Some((before, _)) => format!("{}?…", shown_issuer(before)),
        None => shown_issuer(text),
    }
}

/// A text of others in a command that a person types: only where no shell reads more into it than its letters.
fn typed<'t>(text: &'t str, otherwise: &'t str) -> &'t str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/._%,+-".contains(&byte);
    let is_harmless = text.bytes().all(is_plain) && !text.starts_with('-') && text.len() <= 200;
    if is_harmless { text } else { otherwise }
}

#[cfg(test)]
mod tests;
