//! What the upstream schemas allow, and how a value of the outdated format is made to fit.
//!
//! Every function keeps what already fits byte for byte and reports what it changes; nothing fails here, because one
//! odd value must not keep a registry from being migrated (lesson W34).

use crate::view::Permissions;

/// The namespace that a name without one gets.
const DEFAULT_NAMESPACE: &str = "io.github.stacklok";

/// The schema's limit for a description, in characters.
const MAX_DESCRIPTION: usize = 100;

/// The schema's limit for a title, in characters.
const MAX_TITLE: usize = 100;

/// The schema's limit for a name, in characters.
const MAX_NAME: usize = 200;

/// Collects what was changed in one entry.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<String>);

impl Report {
    pub(super) fn say(&mut self, what: String) {
        self.0.push(what);
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.0
    }
}

/// The full name of an entry: its own, or its key's, under the default namespace when it has none.
pub(super) fn name(key: &str, own: &str, report: &mut Report) -> Option<String> {
    let given = if own.trim().is_empty() {
        key.trim()
    } else {
        own.trim()
    };
    if given.is_empty() {
        return None;
    }
    let full = if given.contains('/') {
        given.to_owned()
    } else {
        format!("{DEFAULT_NAMESPACE}/{given}")
    };
    let (namespace, rest) = full.split_once('/')?;
    let clean = |part: &str, allowed: &[char]| -> String {
        part.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || allowed.contains(&c) {
                    c
                } else {
                    '-'
                }
            })
            .collect()
    };
    let namespace = if namespace.is_empty() {
        DEFAULT_NAMESPACE
    } else {
        namespace
    };
    let mut name = format!(
        "{}/{}",
        clean(namespace, &['.', '-']),
        clean(rest, &['.', '-', '_'])
    );
    if rest.is_empty() {
        name.push('-');
    }
    let name: String = name.chars().take(MAX_NAME).collect();
    if name != full {
        report.say(format!(
            "the name `{full}` is not allowed upstream and became `{name}`"
        ));
    }
    Some(name)
}

/// A description of at most 100 characters; a longer one goes to the head of `overview` whole.
pub(super) fn description(
    given: &str,
    stand_in: &str,
    overview: &mut String,
    report: &mut Report,
) -> String {
    let length = given.chars().count();
    if length == 0 {
        report.say("there is no description; the name stands in for it".to_owned());
        return shorten(stand_in, MAX_DESCRIPTION);
    }
    if length <= MAX_DESCRIPTION {
        return given.to_owned();
    }
    report.say(format!(
        "the description of {length} characters was cut to {MAX_DESCRIPTION}; the whole text is in `overview`"
    ));
    if !overview.contains(given) {
        let rest = std::mem::take(overview);
        *overview = if rest.is_empty() {
            given.to_owned()
        } else {
            format!("{given}\n\n{rest}")
        };
    }
    shorten(given, MAX_DESCRIPTION)
}

/// A title of at most 100 characters.
pub(super) fn title(given: &str, report: &mut Report) -> String {
    let short = shorten(given, MAX_TITLE);
    if short != given {
        report.say(format!(
            "the title was cut to {MAX_TITLE} characters; it was: {given}"
        ));
    }
    short
}

/// Cuts after a word where one ends in the last third, and marks the cut.
fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let head: String = text.chars().take(limit.saturating_sub(1)).collect();
    let words = head
        .rsplit_once(char::is_whitespace)
        .map(|(words, _)| words);
    let kept = words
        .filter(|words| words.chars().count() * 3 >= limit * 2)
        .unwrap_or(&head);
    format!("{}…", kept.trim_end())
}

/// `Official` or `Community`, in any case; another tier is dropped.
pub(super) fn tier(given: &str, report: &mut Report) -> String {
    let known = ["Official", "Community"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(given.trim()));
    if known.is_none() && !given.is_empty() {
        report.say(format!(
            "the tier `{given}` is unknown upstream and was dropped"
        ));
    }
    known.unwrap_or_default().to_owned()
}

/// A status that the schema knows; `active` when there is none.
pub(super) fn status(given: &str, report: &mut Report) -> String {
    const KNOWN: [&str; 4] = ["active", "deprecated", "Active", "Deprecated"];
    if KNOWN.contains(&given) {
        return given.to_owned();
    }
    let status = KNOWN
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(given.trim()))
        .unwrap_or("active");
    if !given.is_empty() && !status.eq_ignore_ascii_case(given.trim()) {
        report.say(format!(
            "the status `{given}` is unknown upstream and became `{status}`"
        ));
    }
    status.to_owned()
}

/// Tags in the schema's alphabet: lower case, digits, `_` and `-`, at least two characters.
pub(super) fn tags(given: Vec<String>, report: &mut Report) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(given.len());
    for tag in given {
        let fitting: String = tag
            .to_lowercase()
            .chars()
            .map(|c| {
                if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let fitting = fitting.trim_matches(['-', '_']);
        if fitting.len() < 2 {
            report.say(format!(
                "the tag `{tag}` is not allowed upstream and was dropped"
            ));
            continue;
        }
        if fitting != tag {
            report.say(format!(
                "the tag `{tag}` is not allowed upstream and became `{fitting}`"
            ));
        }
        if !kept.iter().any(|known| known == fitting) {
            kept.push(fitting.to_owned());
        }
    }
    kept
}

/// Tool names in the schema's alphabet, each once; the others are dropped.
pub(super) fn tools(given: Vec<String>, report: &mut Report) -> Vec<String> {
    let fits = |tool: &String| {
        !tool.is_empty()
            && tool
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    let (fitting, odd): (Vec<String>, Vec<String>) = given.into_iter().partition(fits);
    if !odd.is_empty() {
        report.say(format!(
            "tool names not allowed upstream were dropped: {}",
            odd.join(", ")
        ));
    }
    distinct(fitting)
}

/// The list without repetitions, in its order.
pub(super) fn distinct<T: PartialEq>(given: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(given.len());
    for item in given {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// Permissions whose paths are absolute and whose ports exist; what does not fit is taken away, never widened.
pub(super) fn permissions(mut given: Permissions, report: &mut Report) -> Permissions {
    given.read = paths(given.read, "read", report);
    given.write = paths(given.write, "write", report);
    if let Some(outbound) = given
        .network
        .as_mut()
        .and_then(|network| network.outbound.as_mut())
    {
        let (ports, odd): (Vec<i64>, Vec<i64>) = std::mem::take(&mut outbound.allow_port)
            .into_iter()
            .partition(|port| (1..=65535).contains(port));
        for port in odd {
            report.say(format!(
                "the allowed port {port} does not exist and was dropped"
            ));
        }
        outbound.allow_port = distinct(ports);
        outbound.allow_host = distinct(std::mem::take(&mut outbound.allow_host));
    }
    given
}

fn paths(given: Vec<String>, which: &str, report: &mut Report) -> Vec<String> {
    let fits = |path: &String| {
        path.strip_prefix('/').is_some_and(|path| {
            let path = path.strip_suffix('/').unwrap_or(path);
            !path.contains('\0') && path.split('/').all(|segment| !segment.is_empty())
        })
    };
    let (fitting, odd): (Vec<String>, Vec<String>) = given.into_iter().partition(fits);
    for path in odd {
        report.say(format!(
            "the {which} permission for `{path}` is not an absolute path and was dropped"
        ));
    }
    distinct(fitting)
}

/// The service that hosts a repository. The outdated format does not say; what is unknown counts as GitHub, as the Go
/// program has it.
pub(super) fn repository_source(url: &str) -> &'static str {
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    match host.as_str() {
        "gitlab.com" => "gitlab",
        "bitbucket.org" => "bitbucket",
        _ => "github",
    }
}

/// A container's transport.
pub(super) fn container_transport(given: &str, report: &mut Report) -> &'static str {
    match known_transport(given) {
        Some(known) => known,
        None if given.is_empty() => "stdio",
        None => {
            report.say(format!(
                "the transport `{given}` is unknown upstream and became `stdio`"
            ));
            "stdio"
        }
    }
}

/// A remote's transport, which is never stdio.
pub(super) fn remote_transport(given: &str, report: &mut Report) -> &'static str {
    let known = known_transport(given).filter(|known| *known != "stdio");
    if known.is_none() {
        report.say(format!(
            "a remote cannot have the transport `{given}`; it became `streamable-http`"
        ));
    }
    known.unwrap_or("streamable-http")
}

fn known_transport(given: &str) -> Option<&'static str> {
    ["stdio", "sse", "streamable-http"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(given.trim()))
}

/// Whether a remote's URL is one that the schema accepts.
pub(super) fn is_remote_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

/// Whether a document's version is three numbers.
pub(super) fn is_document_version(version: &str) -> bool {
    let parts: Vec<&str> = version.split('.').collect();
    parts.len() == 3
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}
