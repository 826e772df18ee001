//! Properties that hold for every reader: no input makes one panic, and damage to one row stays there.

use proptest::prelude::*;
use serde_json::{Value, value::RawValue};

use super::{item, page, server, upstream};
use crate::{convert, view};

const DOCUMENT: &str = r#"{"$schema":"s","version":"1.0.0","meta":{"last_updated":"2026-01-02T03:04:05Z"},"data":{"servers":[
    {"name":"a/b","description":"d\ud83d\ude00","version":"1","packages":[{"registryType":"oci","identifier":"i:1",
        "transport":{"type":"sse","url":"http://localhost:80/x"},"packageArguments":[{"type":"named","name":"-l","value":"v"}],
        "runtimeArguments":[{"type":"named","name":"-e","value":"K={k}","variables":{"k":{"default":"x"}}}]}],
     "_meta":{"io.modelcontextprotocol.registry/publisher-provided":{"io.github.stacklok":{"i:1":{"status":"active",
        "tools":["t"],"metadata":{"stars":1.5e3},"permissions":{"network":{"outbound":{"allow_port":[443]}}},
        "tool_definitions":[{"name":"t"}],"custom_metadata":{"a":[null,true]}}}}}},
    {"name":"c/d","remotes":[{"type":"sse","url":"https://x.test","headers":[{"name":"H"}]}]}],"skills":[{"name":"s"}]}}"#;

const PAGE: &str = r#"{"servers":[{"server":{"name":"a/b","description":"d","packages":[]},"_meta":{
    "io.modelcontextprotocol.registry/official":{"status":"active","updatedAt":"2026-01-02T03:04:05Z","isLatest":true}}},
    {"name":"c/d"},5],"skills":[{"name":"s"}],"metadata":{"nextCursor":"c","count":3}}"#;

const LEGACY: &str = r#"{"version":"1.0.0","last_updated":"2026-01-02T03:04:05Z","servers":{"fetch":{"description":"d",
    "tier":"Official","status":"Active","transport":"stdio","tools":["t"],"image":"i:1","args":["a"],"env_vars":[{"name":"E"}],
    "permissions":{"read":["/a"]}}},"remote_servers":{"r":{"description":"d","url":"https://x.test","transport":"sse"}},"groups":[{"name":"g"}]}"#;

/// Reads the bytes every way there is.
fn read_all(bytes: &[u8]) {
    if let Ok(document) = upstream::parse_document(bytes) {
        document.servers.iter().for_each(|raw| read_row(raw));
        document
            .skills
            .iter()
            .chain(&document.plugins)
            .for_each(|raw| drop(item::read_extension_item(raw)));
    }
    if let Ok(page) = page::parse_page(bytes) {
        page.rows.iter().for_each(|row| read_row(row.server));
    }
    drop(page::parse_extension_page(bytes, "skills"));
    drop(page::parse_server_response(bytes));
    drop(convert::convert_legacy(bytes));
    if let Ok(raw) = serde_json::from_slice::<&RawValue>(bytes) {
        read_row(raw);
    }
}

fn read_row(raw: &RawValue) {
    if let Ok(server) = server::read_server(raw) {
        drop(view::project(&server, true));
        drop(view::tags(&server));
    }
}

/// A valid text with some of its bytes replaced, removed or repeated.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..6);
    (prop::sample::select(vec![DOCUMENT, PAGE, LEGACY]), damage).prop_map(|(text, damage)| {
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte, how) in damage {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.truncate(at + 1),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        bytes
    })
}

/// A valid document in which one value, anywhere, is replaced by one of another kind.
fn mistyped() -> impl Strategy<Value = Value> {
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(map) => map.values().map(count).sum(),
            _ => 0,
        }
    }
    fn replace(value: &mut Value, countdown: &mut usize, by: &Value) {
        if *countdown == 0 {
            *value = by.clone();
        }
        *countdown = countdown.wrapping_sub(1);
        match value {
            Value::Array(list) => list
                .iter_mut()
                .for_each(|value| replace(value, countdown, by)),
            Value::Object(map) => map
                .values_mut()
                .for_each(|value| replace(value, countdown, by)),
            _ => {}
        }
    }
    let kinds = ["null", "true", "-3", "1.5", "\"x\"", "[[]]", "{\"a\":{}}"];
    let by = prop::sample::select(kinds.to_vec());
    (
        prop::sample::select(vec![DOCUMENT, PAGE, LEGACY]),
        any::<prop::sample::Index>(),
        by,
    )
        .prop_map(|(text, at, by)| {
            let mut value: Value = serde_json::from_str(text).unwrap();
            let mut countdown = at.index(count(&value));
            replace(
                &mut value,
                &mut countdown,
                &serde_json::from_str(by).unwrap(),
            );
            value
        })
}

#[test]
fn the_samples_are_what_they_claim_to_be() {
    assert_eq!(
        upstream::parse_document(DOCUMENT.as_bytes())
            .unwrap()
            .servers
            .len(),
        2
    );
    assert_eq!(page::parse_page(PAGE.as_bytes()).unwrap().rows.len(), 2);
    assert_eq!(
        convert::convert_legacy(LEGACY.as_bytes())
            .unwrap()
            .notes
            .len(),
        1
    );
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn no_damage_makes_a_reader_panic(bytes in damaged()) {
        read_all(&bytes);
    }

    #[test]
    fn no_json_makes_a_reader_panic(value in crate::json::tests::any_json()) {
        read_all(value.to_string().as_bytes());
    }

    #[test]
    fn a_value_of_another_kind_never_fails_a_named_row(value in mistyped()) {
        let text = value.to_string();
        read_all(text.as_bytes());
        for row in value["data"]["servers"].as_array().into_iter().flatten() {
            let text = row.to_string();
            let read = server::read_server(serde_json::from_str(&text).unwrap());
            let named = row["name"].as_str().is_some_and(|name| !name.is_empty());
            prop_assert_eq!(read.is_ok(), named);
        }
    }

    #[test]
    fn any_list_of_rows_gives_a_page_that_accounts_for_each(rows in prop::collection::vec(crate::json::tests::any_json(), 0..8)) {
        let text = serde_json::json!({ "servers": rows, "metadata": {} }).to_string();
        let page = page::parse_page(text.as_bytes()).unwrap();
        prop_assert_eq!(page.rows.len() + page.bad_rows, rows.len());
    }
}
