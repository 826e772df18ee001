//! A registry in the outdated format: what is converted must be readable, and converting it again must be refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thv_registry::{
    convert::{ConvertError, convert_legacy},
    format::{server::read_server, upstream::parse_document},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(conversion) = convert_legacy(bytes) else {
        return;
    };
    let document =
        parse_document(&conversion.document).expect("a converted document is a document");
    for raw in &document.servers {
        read_server(raw).expect("a converted server has a name");
    }
    assert_eq!(
        convert_legacy(&conversion.document),
        Err(ConvertError::AlreadyUpstream)
    );
});
