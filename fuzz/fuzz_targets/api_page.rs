//! The answers of a Registry API: list pages, one server, extension lists.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thv_registry::format::{
    page::{parse_extension_page, parse_page, parse_server_response},
    server::read_server,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(page) = parse_page(bytes) {
        for row in &page.rows {
            let _ = read_server(row.server);
        }
    }
    let _ = parse_extension_page(bytes, "skills");
    let _ = parse_extension_page(bytes, "plugins");
    let _ = parse_server_response(bytes);
});
