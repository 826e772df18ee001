//! The certificate by which this program shows who it is where a server asks for one in the TLS handshake
//! (RFC 8446 section 4.3.2): networks that let only known machines in.
//!
//! Which files it is in is said by the environment; they are read here, and understood where the TLS library is at
//! home, in `transport`. It holds for all hosts alike: a handshake shows it to nobody who does not ask.

use std::path::{Path, PathBuf};

use secrecy::SecretSlice;
use thv_config::disk::read_bounded;
use thv_config::world::Env;

use crate::error::HttpError;
use crate::limits::CLIENT_CERTIFICATE_MAX;

/// Names the PEM file with the certificate chain, and with the key unless that is elsewhere.
pub const CERTIFICATE_VARIABLE: &str = "THV_CLIENT_CERTIFICATE";
/// Names the PEM file with the key, when that is a file of its own.
pub const KEY_VARIABLE: &str = "THV_CLIENT_KEY";

/// Where the certificate is.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientCertificate {
    chain: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// The certificate chain and its key as PEM text, one after the other.
pub(crate) struct Pem {
    /// The file to name when the text is not understood.
    pub(crate) path: PathBuf,
    pub(crate) bytes: SecretSlice<u8>,
}

impl ClientCertificate {
    pub(crate) fn from_env(env: &dyn Env) -> Self {
        let path = |name| {
            env.var(name)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        Self {
            chain: path(CERTIFICATE_VARIABLE),
            key: path(KEY_VARIABLE),
        }
    }

    /// Reads the files; `None` when none is named. Blocks on the disk.
    pub(crate) fn load(&self) -> Result<Option<Pem>, HttpError> {
        let chain = match (&self.chain, &self.key) {
            (Some(chain), _) => chain,
            (None, None) => return Ok(None),
            // Half of it named is a mistake that must not end in an anonymous request.
            (None, Some(key)) => {
                return Err(unusable(
                    key,
                    format!("{KEY_VARIABLE} names it, and {CERTIFICATE_VARIABLE} no certificate"),
                ));
            }
        };
        let mut bytes = read(chain)?;
        if let Some(key) = &self.key {
            bytes.push(b'\n');
            bytes.extend(read(key)?);
        }
        Ok(Some(Pem {
            path: chain.clone(),
            bytes: SecretSlice::from(bytes),
        }))
    }
}

pub(crate) fn unusable(path: &Path, cause: String) -> HttpError {
    HttpError::ClientCertificate {
        path: path.to_owned(),
        cause,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, HttpError> {
    read_bounded(path, CLIENT_CERTIFICATE_MAX).map_err(|cause| unusable(path, cause.to_string()))
}
