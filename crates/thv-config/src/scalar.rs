//! The values we write into YAML text, spelled so that every YAML reader takes them for what they
//! are.

use std::fmt::Write as _;

/// How much deeper we write what is below a key; the Go program does the same.
pub(crate) const INDENT: usize = 4;

/// A value we write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// A string.
    Text(String),
    /// A boolean.
    Flag(bool),
    /// A port.
    Number(u16),
    /// A list of strings.
    List(Vec<String>),
}

impl Scalar {
    /// Whether the value says no more than a missing key does.
    pub(crate) fn is_neutral(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Flag(flag) => !flag,
            Self::Number(number) => *number == 0,
            Self::List(items) => items.is_empty(),
        }
    }

    /// What stands behind the colon, and the lines below it, for a key at `indent`.
    pub(crate) fn render(&self, indent: usize) -> (String, Vec<String>) {
        match self {
            Self::Text(text) => (format!(" {}", quoted(text)), Vec::new()),
            Self::Flag(flag) => (format!(" {flag}"), Vec::new()),
            Self::Number(number) => (format!(" {number}"), Vec::new()),
            Self::List(items) => {
                let space = " ".repeat(indent + INDENT);
                let lines = items
                    .iter()
                    .map(|item| format!("{space}- {}", quoted(item)))
                    .collect();
                (String::new(), lines)
            }
        }
    }
}

/// A string as a YAML scalar that every reader takes for a string.
fn quoted(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(character),
            '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' => {
                out.push(character);
            }
            other => {
                let code = u32::from(other);
                let _ = write!(out, "\\U{code:08x}");
            }
        }
    }
    out.push('"');
    out
}

/// Whether the text can stand without quotes. Strict on purpose: what some YAML version takes for a
/// number, a boolean or null gets quotes. A full timestamp is an exception, because the Go program
/// writes and reads token expiries that way.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let safe =
        |character: char| character.is_ascii_alphanumeric() || "/_.-:@+=%?&,~".contains(character);
    let starts_well = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    let scalar = starts_well && !word && !text.ends_with(':') && text.chars().all(safe);
    scalar || is_timestamp(text)
}

fn is_timestamp(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|character| {
            if character.is_ascii_digit() {
                '0'
            } else {
                character
            }
        })
        .collect();
    shape.starts_with("0000-00-00T00:00:00") && text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_reader_takes_for_another_type_gets_quotes() {
        for text in [
            "",
            "yes",
            "No",
            "TRUE",
            "null",
            "~",
            "1",
            "0x1f",
            "1_000",
            "-1",
            ".5",
            ".inf",
            "y",
            "a: b",
            "a #b",
            "#a",
            "*a",
            "&a",
            "!a",
            "@a",
            "[a]",
            "{a}",
            "- a",
            "a:",
            " a",
            "a ",
            "2026-01-01",
            "1:30",
            "'",
            "<<",
            "=",
        ] {
            assert!(quoted(text).starts_with('"'), "{text:?}");
        }
    }

    #[test]
    fn urls_paths_words_and_token_expiries_stand_bare() {
        for text in [
            "https://reg.example.com:8443/v0.1?a=b&c=d",
            "/home/ann/registry.json",
            "oauth",
            "offline_access",
            "REGISTRY_OAUTH_e037e405",
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.123+02:00",
        ] {
            assert_eq!(quoted(text), text);
        }
    }

    #[test]
    fn no_character_escapes_its_quotes() {
        assert_eq!(
            quoted("\"\\\n\u{0}\u{85}\u{2028}\u{feff}é😀"),
            "\"\\\"\\\\\\n\\U00000000\\U00000085\\U00002028\\U0000feffé\\U0001f600\""
        );
    }
}
