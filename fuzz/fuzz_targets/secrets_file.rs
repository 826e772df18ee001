//! The secrets file, in either form, and the plain content that is in it once it has been opened.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thv_secrets::format;

fuzz_target!(|bytes: &[u8]| {
    let _ = format::open("password", bytes);
    let _ = format::read_content(bytes);
});
