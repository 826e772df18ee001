//! A catalog's cache file, which another program or a crash may have left in any state.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = thv_registry::cache::read_cache_bytes(bytes);
});
