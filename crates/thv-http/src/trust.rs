//! Which certificate authorities are trusted beside those of the operating system.
//!
//! `ca_certificate_path` in config.yaml and `SSL_CERT_FILE` in the environment add to the system's roots, neither
//! replaces them. Files are read here; certificates are parsed where the TLS library is at home, in `transport`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use thv_config::world::Env;

use crate::error::HttpError;
use crate::limits::CA_BUNDLE_MAX;

/// Where extra certificate authorities come from.
#[derive(Clone, Debug)]
pub(crate) struct TrustSettings {
    extra_ca: Option<PathBuf>,
    ssl_cert_file: Option<PathBuf>,
}

/// The contents of one CA file.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    /// Whether every certificate in it must be usable. A file that somebody wrote for us must; a large bundle made for
    /// all programs may hold a few odd ones.
    pub(crate) strict: bool,
}

/// Where the distributions keep their bundle. The TLS library stops looking here once `SSL_CERT_FILE` is set.
#[cfg(all(unix, not(target_os = "macos")))]
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
#[cfg(not(all(unix, not(target_os = "macos"))))]
const SYSTEM_BUNDLES: &[&str] = &[];

impl TrustSettings {
    pub(crate) fn new(extra_ca: Option<PathBuf>, env: &dyn Env) -> Self {
        let ssl_cert_file = env
            .var("SSL_CERT_FILE")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        Self {
            extra_ca,
            ssl_cert_file,
        }
    }

    /// The files that the settings name.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let named = self.extra_ca.iter().chain(&self.ssl_cert_file);
        named.cloned().collect()
    }

    /// Reads all files. Blocks on the disk.
    pub(crate) fn load(&self) -> Result<Vec<Bundle>, HttpError> {
        let mut bundles = Vec::new();
        if let Some(path) = &self.extra_ca {
            bundles.push(read(path, true)?);
        }
        if let Some(path) = &self.ssl_cert_file {
            bundles.push(read(path, false)?);
            let system = SYSTEM_BUNDLES
                .iter()
                .map(Path::new)
                .find(|bundle| bundle.is_file());
            if let Some(system) = system {
                bundles.push(read(system, false)?);
            }
        }
        Ok(bundles)
    }
}

fn read(path: &Path, strict: bool) -> Result<Bundle, HttpError> {
    let unusable = |cause: String| HttpError::Trust {
        path: path.to_owned(),
        cause,
    };
    let file = File::open(path).map_err(|cause| unusable(cause.to_string()))?;
    let mut bytes = Vec::new();
    file.take(CA_BUNDLE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| unusable(cause.to_string()))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > CA_BUNDLE_MAX {
        return Err(unusable(format!("it is larger than {CA_BUNDLE_MAX} bytes")));
    }
    Ok(Bundle {
        path: path.to_owned(),
        bytes,
        strict,
    })
}
