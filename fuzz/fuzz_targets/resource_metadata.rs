//! The document in which a registry says where to log in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use thv_auth::foreign::resource_metadata;
use thv_auth::relaxation::{Relaxation, Relaxations};

fuzz_target!(|bytes: &[u8]| {
    let relaxed = Relaxations::from([Relaxation::ResourceParentPath]);
    for registry in ["https://r.example/mcp", "https://r.example"] {
        for relaxations in [&Relaxations::new(), &relaxed] {
            let read = resource_metadata(registry, relaxations, bytes);
            let (metadata, checks) = read.expect("the registry has a URL");
            for check in &checks {
                let fix = check.fix.as_deref().unwrap_or_default();
                assert!(!check.evidence.contains(char::is_control), "{check:?}");
                assert!(!fix.contains(['$', '|', '&', '\n', '"']), "{check:?}");
            }
            let Ok(metadata) = metadata else { continue };
            let url = url::Url::parse(&metadata.resource).expect("the resource is the registry");
            assert_eq!(url.host_str(), Some("r.example"));
            assert!(metadata.authorization_servers.len() <= 32);
            if relaxations.is_empty() {
                assert!(metadata.resource.starts_with(registry), "{metadata:?}");
            }
        }
    }
});
