//! Changing single keys in YAML text and leaving every other byte alone: comments, order, spelling
//! and whatever else stands between the lines that change.
//!
//! This is no YAML parser. It recognises keys by their indentation, as people and programs write
//! them, and gives up (`None`) on layouts in which a line cannot be changed alone. Where it misreads
//! a text, the caller notices: [`crate::yaml`] parses every result and compares.

use std::ops::Range;

use crate::scalar::{INDENT, Scalar};

/// One key that gets a value, or goes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The key's path from the root.
    pub(crate) path: &'static [&'static str],
    /// The new value; `None` removes the key.
    pub(crate) value: Option<Scalar>,
}

/// The text with all changes made, or `None` when one of them cannot be made in place.
pub(crate) fn apply(text: &str, changes: &[Change]) -> Option<String> {
    let (mark, body) = match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    let mut page = Page::new(body);
    for change in changes {
        page.apply(change.path, change.value.as_ref())?;
    }
    Some(format!("{mark}{}", page.lines.concat()))
}

impl Change {
    /// Removes the key and all that is below it.
    pub(crate) fn remove(path: &'static [&'static str]) -> Self {
        Self { path, value: None }
    }
}

// === Page

/// The text as lines, each with its line ending.
struct Page {
    lines: Vec<String>,
    ending: &'static str,
}

/// A key and everything that belongs to it.
struct Entry {
    /// The key's line and those below it, without trailing comments and blank lines.
    lines: Range<usize>,
    /// Where the value begins in the key's line: the byte after the colon.
    value: usize,
}

/// The lines of one mapping and the column its keys stand in.
struct Region {
    lines: Range<usize>,
    indent: usize,
}

impl Page {
    fn new(text: &str) -> Self {
        Self {
            lines: text.split_inclusive('\n').map(str::to_owned).collect(),
            ending: if text.contains("\r\n") { "\r\n" } else { "\n" },
        }
    }

    fn line(&self, index: usize) -> &str {
        self.lines.get(index).map_or("", String::as_str)
    }

    fn apply(&mut self, path: &[&str], value: Option<&Scalar>) -> Option<()> {
        let (leaf, above) = path.split_last()?;
        let mut region = self.root();
        for key in above {
            region = match (self.find(&region, key), value) {
                (Some(entry), _) => self.below(&region, &entry)?,
                (None, None) => return Some(()),
                (None, Some(_)) => self.insert_mapping(&region, key),
            };
        }
        match (self.find(&region, leaf), value) {
            (Some(entry), Some(value)) => self.replace(&region, &entry, value),
            (Some(entry), None) => self.remove(&region, &entry),
            (None, Some(value)) => {
                self.insert(&region, leaf, value);
            }
            (None, None) => {}
        }
        Some(())
    }

    /// The mapping that is the document: from its first line to its end marker.
    fn root(&self) -> Region {
        let end = (0..self.lines.len())
            .find(|index| is_marker(self.line(*index), "..."))
            .unwrap_or(self.lines.len());
        let indent = (0..end)
            .map(|index| self.line(index))
            .find(|line| has_content(line) && !is_marker(line, "---") && !line.starts_with('%'))
            .map_or(0, indent_of);
        Region {
            lines: 0..end,
            indent,
        }
    }

    /// The entry of `key` in the region, comments and blank lines behind it not included.
    fn find(&self, region: &Region, key: &str) -> Option<Entry> {
        region.lines.clone().find_map(|start| {
            let line = self.line(start);
            if !has_content(line) || indent_of(line) != region.indent {
                return None;
            }
            let (name, value) = split_key(line)?;
            (name == key).then(|| Entry {
                lines: start..self.end_of(region, start, value),
                value,
            })
        })
    }

    /// The line after the last one of the entry that starts at `start`.
    fn end_of(&self, region: &Region, start: usize, value: usize) -> usize {
        let literal = matches!(
            self.line(start)
                .get(value..)
                .and_then(|value| value.trim_start().chars().next()),
            Some('|' | '>')
        );
        // Inside a block scalar, what looks like a comment is text if it stands as deep as the rest.
        let mut literal_indent = None;
        let mut end = start + 1;
        for index in start + 1..region.lines.end {
            let line = self.line(index);
            let indent = indent_of(line);
            let deeper = indent > region.indent;
            if has_content(line) {
                let item = indent == region.indent && is_item(line);
                if !deeper && !item {
                    break;
                }
            }
            let text = literal
                && deeper
                && !line.trim().is_empty()
                && indent >= *literal_indent.get_or_insert(indent);
            if has_content(line) || text {
                end = index + 1;
            }
        }
        end
    }

    /// The mapping below a key. An empty one is opened for writing; any other value than a mapping
    /// on lines of its own cannot be changed in place.
    fn below(&mut self, region: &Region, entry: &Entry) -> Option<Region> {
        let start = entry.lines.start;
        let line = self.line(start);
        let (value, comment) = split_comment(line.get(entry.value..)?);
        let lines = start + 1..entry.lines.end;
        let first = lines
            .clone()
            .map(|index| self.line(index))
            .find(|line| has_content(line));
        match (value.trim(), first) {
            ("", Some(first)) => {
                let indent = indent_of(first);
                (indent > region.indent && split_key(first).is_some())
                    .then_some(Region { lines, indent })
            }
            ("" | "~" | "null" | "{}", None) => {
                let head = line.get(..entry.value)?;
                let opened = format!("{head}{comment}{}", line_ending(line));
                if let Some(line) = self.lines.get_mut(start) {
                    *line = opened;
                }
                Some(Region {
                    lines,
                    indent: region.indent + INDENT,
                })
            }
            _ => None,
        }
    }

    fn replace(&mut self, region: &Region, entry: &Entry, value: &Scalar) {
        let line = self.line(entry.lines.start);
        let head = line.get(..entry.value).unwrap_or_default();
        let (_, comment) = split_comment(line.get(entry.value..).unwrap_or_default());
        let (inline, below) = value.render(region.indent);
        let mut lines = vec![format!("{head}{inline}{comment}{}", self.ending)];
        lines.extend(below.into_iter().map(|line| line + self.ending));
        self.lines.splice(entry.lines.clone(), lines);
    }

    /// Removes an entry with the indented comments behind it: they were part of it to the eye, and
    /// a block scalar above would swallow them.
    fn remove(&mut self, region: &Region, entry: &Entry) {
        let end = (entry.lines.end..region.lines.end)
            .take_while(|index| !has_content(self.line(*index)))
            .filter(|index| {
                let line = self.line(*index);
                indent_of(line) > region.indent && !line.trim().is_empty()
            })
            .last()
            .map_or(entry.lines.end, |last| last + 1);
        self.lines.drain(entry.lines.start..end);
    }

    fn insert(&mut self, region: &Region, key: &str, value: &Scalar) {
        let (inline, below) = value.render(region.indent);
        let space = " ".repeat(region.indent);
        let mut lines = vec![format!("{space}{key}:{inline}{}", self.ending)];
        lines.extend(below.into_iter().map(|line| line + self.ending));
        self.insert_lines(region, lines);
    }

    /// Adds an empty mapping and returns its region, to be filled.
    fn insert_mapping(&mut self, region: &Region, key: &str) -> Region {
        let space = " ".repeat(region.indent);
        let at = self.insert_lines(region, vec![format!("{space}{key}:{}", self.ending)]);
        Region {
            lines: at + 1..at + 1,
            indent: region.indent + INDENT,
        }
    }

    /// Puts lines at the end of the region and returns where they begin.
    fn insert_lines(&mut self, region: &Region, lines: Vec<String>) -> usize {
        let at = region.lines.end;
        if let Some(before) = at.checked_sub(1).and_then(|last| self.lines.get_mut(last))
            && !before.ends_with('\n')
        {
            before.push_str(self.ending);
        }
        self.lines.splice(at..at, lines);
        at
    }
}

// === Lines

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn line_ending(line: &str) -> &str {
    line.get(line.trim_end_matches(['\r', '\n']).len()..)
        .unwrap_or_default()
}

/// Whether the line holds more than space and a comment.
fn has_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn is_item(line: &str) -> bool {
    let line = line.trim();
    line == "-" || line.starts_with("- ")
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// The key a line begins with and where its value begins; `None` for any other line.
fn split_key(line: &str) -> Option<(&str, usize)> {
    let body = line.trim_start_matches(' ');
    let offset = line.len() - body.len();
    if is_item(body) || body.starts_with(['#', '?', '{', '[', '&', '*', '!', '|', '>', '%']) {
        return None;
    }
    let (name, after) = if let Some(quote @ ('"' | '\'')) = body.chars().next() {
        let name = body.get(1..)?.split(quote).next()?;
        (name, name.len() + 2)
    } else {
        let colon = body
            .match_indices(':')
            .map(|(index, _)| index)
            .find(|index| ends_key(body.get(index + 1..).unwrap_or_default()))?;
        (body.get(..colon)?.trim_end(), colon)
    };
    let colon = body.get(after..)?;
    let value = after + colon.find(':')?;
    let only_space = body.get(after..value)?.trim().is_empty();
    let ends = ends_key(body.get(value + 1..)?);
    (only_space && ends).then_some((name, offset + value + 1))
}

/// Whether what follows a colon makes it the end of a key.
fn ends_key(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])
}

/// Splits what follows a key into the value and a comment, the space before the comment included.
/// Line endings belong to neither.
fn split_comment(rest: &str) -> (&str, &str) {
    let rest = rest.trim_end_matches(['\r', '\n']);
    let value = rest.trim_start();
    let lead = rest.len() - value.len();
    let skipped = match value.chars().next() {
        Some('"' | '\'') => closing(value),
        Some('[') => value.rfind(']').unwrap_or(0),
        Some('{') => value.rfind('}').unwrap_or(0),
        // A comment right behind the colon needs its space before it, which is part of `lead`.
        _ => 0,
    };
    let from = if skipped == 0 { 0 } else { lead + skipped };
    let tail = rest.get(from..).unwrap_or_default();
    let mark = tail
        .match_indices('#')
        .map(|(index, _)| index)
        .find(|index| {
            tail.get(..*index)
                .is_some_and(|before| before.ends_with([' ', '\t']))
        });
    let Some(mark) = mark else {
        return (rest, "");
    };
    let cut = rest
        .get(..from + mark)
        .map_or(0, |before| before.trim_end().len());
    rest.split_at(cut)
}

/// Where a quoted value ends: the index behind its closing quote, or the end of the line.
fn closing(value: &str) -> usize {
    let mut characters = value.char_indices();
    let double = matches!(characters.next(), Some((_, '"')));
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' if double => {
                characters.next();
            }
            '"' if double => return index + 1,
            // Two in a row stand for one.
            '\'' if !double => {
                if !characters.as_str().starts_with('\'') {
                    return index + 1;
                }
                characters.next();
            }
            _ => {}
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(path: &'static [&'static str], value: &str) -> Change {
        Change {
            path,
            value: Some(Scalar::Text(value.to_owned())),
        }
    }

    fn edited(text: &str, changes: &[Change]) -> String {
        apply(text, changes).expect("the layout can be edited")
    }

    const URL: &[&str] = &["registry_url"];
    const TYPE: &[&str] = &["registry_auth", "type"];
    const ISSUER: &[&str] = &["registry_auth", "oauth", "issuer"];

    #[test]
    fn a_value_is_replaced_and_the_comment_behind_it_stays() {
        for (before, after) in [
            ("registry_url: \"\"\n", "registry_url: new\n"),
            ("registry_url: ''   # why\n", "registry_url: new   # why\n"),
            ("registry_url: a#b # why\n", "registry_url: new # why\n"),
            ("registry_url: \"a # b\" # c\n", "registry_url: new # c\n"),
            (
                "registry_url: \"a\\\" # b\" # c\n",
                "registry_url: new # c\n",
            ),
            ("registry_url: 'it''s # b' # c\n", "registry_url: new # c\n"),
            ("registry_url: # later\n", "registry_url: new # later\n"),
            ("registry_url:\n", "registry_url: new\n"),
            (
                "registry_url: a\n  # b\nz: 1\n",
                "registry_url: new\n  # b\nz: 1\n",
            ),
            ("\"registry_url\" : x\n", "\"registry_url\" : new\n"),
            (
                "registry_url: |\n    a\n    # b\nz: 1\n",
                "registry_url: new\nz: 1\n",
            ),
            (
                "registry_url:\n    a\n    b\n# c\nz: 1\n",
                "registry_url: new\n# c\nz: 1\n",
            ),
            (
                "  a: 1\n  registry_url: x\n",
                "  a: 1\n  registry_url: new\n",
            ),
            (
                "a: 1\r\nregistry_url: x\r\nb: 2\r\n",
                "a: 1\r\nregistry_url: new\r\nb: 2\r\n",
            ),
            ("\u{feff}registry_url: x\n", "\u{feff}registry_url: new\n"),
        ] {
            assert_eq!(edited(before, &[set(URL, "new")]), after, "{before:?}");
        }
    }

    #[test]
    fn a_missing_key_is_added_at_the_end() {
        for (before, after) in [
            ("", "registry_url: new\n"),
            (
                "# only a comment\n",
                "# only a comment\nregistry_url: new\n",
            ),
            ("a: 1", "a: 1\nregistry_url: new\n"),
            ("---\na: 1\n...\n", "---\na: 1\nregistry_url: new\n...\n"),
            (
                "a:\n- registry_url: x\n",
                "a:\n- registry_url: x\nregistry_url: new\n",
            ),
            (
                "a: |\n    registry_url: x\n",
                "a: |\n    registry_url: x\nregistry_url: new\n",
            ),
        ] {
            assert_eq!(edited(before, &[set(URL, "new")]), after, "{before:?}");
        }
    }

    #[test]
    fn a_nested_key_is_changed_in_the_indentation_it_is_found_in() {
        let before = "registry_auth:\n  # the kind\n  type: oauth\n  oauth:\n    issuer: a # b\n    extra: 1\nz: 1\n";
        let after = "registry_auth:\n  # the kind\n  type: oauth\n  oauth:\n    issuer: c # b\n    extra: 1\nz: 1\n";
        assert_eq!(edited(before, &[set(ISSUER, "c")]), after);
    }

    #[test]
    fn missing_mappings_are_added_with_four_spaces() {
        let after = "a: 1\nregistry_auth:\n    type: oauth\n    oauth:\n        issuer: b\n";
        assert_eq!(
            edited("a: 1\n", &[set(TYPE, "oauth"), set(ISSUER, "b")]),
            after
        );
        for empty in ["", " {}", " null", " ~"] {
            let before = format!("registry_auth:{empty} # auth\nz: 1\n");
            assert_eq!(
                edited(&before, &[set(TYPE, "oauth")]),
                "registry_auth: # auth\n    type: oauth\nz: 1\n",
                "{before:?}"
            );
        }
    }

    #[test]
    fn a_removed_key_takes_what_is_below_it_and_nothing_else() {
        let before =
            "# a\nregistry_auth:\n    type: oauth\n\n    oauth:\n        issuer: b\n\n# c\nz: 1\n";
        assert_eq!(
            edited(before, &[Change::remove(&["registry_auth"])]),
            "# a\n\n# c\nz: 1\n"
        );
        let indented = "a: |\n    text\nregistry_auth:\n    type: oauth\n\n    # was\n\n# c\n";
        assert_eq!(
            edited(indented, &[Change::remove(&["registry_auth"])]),
            "a: |\n    text\n\n# c\n"
        );
        assert_eq!(edited("z: 1\n", &[Change::remove(ISSUER)]), "z: 1\n");
    }

    #[test]
    fn a_list_is_written_below_its_key() {
        const SCOPES: &[&str] = &["registry_auth", "oauth", "scopes"];
        let scopes = Change {
            path: SCOPES,
            value: Some(Scalar::List(vec!["openid".to_owned(), "a b".to_owned()])),
        };
        let after = "registry_auth:\n    oauth:\n        scopes:\n            - openid\n            - \"a b\"\n";
        for before in [
            "registry_auth:\n    oauth:\n        scopes: [x, y]\n",
            "registry_auth:\n    oauth:\n        scopes:\n        - x\n        - y\n",
            "registry_auth:\n    oauth:\n        scopes:\n            - x\n",
        ] {
            assert_eq!(
                edited(before, std::slice::from_ref(&scopes)),
                after,
                "{before:?}"
            );
        }
    }

    #[test]
    fn a_mapping_on_one_line_cannot_be_changed_in_place() {
        let inline = "registry_auth: {type: oauth}\n";
        assert_eq!(apply(inline, &[set(TYPE, "x")]), None);
        let list = "registry_auth:\n    - type\n";
        assert_eq!(apply(list, &[set(TYPE, "x")]), None);
    }
}
