//! One `server.json`: reading, projecting, and the compact dialect, which must keep the value and be idempotent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, value::RawValue};
use thv_registry::{
    format::server::read_server,
    json,
    view::{self, View},
};

fuzz_target!(|text: &str| {
    let once = json::compact(text);
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else {
        return;
    };
    let once = String::from_utf8(once).expect("compact keeps UTF-8");
    assert_eq!(json::compact(&once), once.as_bytes());
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        assert_eq!(
            serde_json::from_str::<Value>(&once).expect("compact keeps JSON"),
            value
        );
    }
    let Ok(server) = read_server(raw) else { return };
    let written = match view::project(&server, true) {
        View::Container(image) => json::to_vec(&image),
        View::Remote(remote) => json::to_vec(&remote),
        View::Omitted(_) => return,
    };
    let written = written.expect("a view is JSON");
    serde_json::from_slice::<Value>(&written).expect("a view reads back");
});
