//! A registry document from a file or a URL: its shape, then each row as a catalog load reads it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thv_registry::{
    format::{item::read_extension_item, server::read_server, upstream::parse_document},
    view,
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = parse_document(bytes) else {
        return;
    };
    for raw in &document.servers {
        if let Ok(server) = read_server(raw) {
            let _ = view::project(&server, false);
            let _ = view::tags(&server);
        }
    }
    for raw in document.skills.iter().chain(&document.plugins) {
        let _ = read_extension_item(raw);
    }
});
