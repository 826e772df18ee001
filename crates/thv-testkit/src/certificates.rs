//! A private certificate authority, made for one test with the `openssl` program, and what it signs.
//!
//! `scripts/test` installs the program. The keys are worth nothing: every user of the machine may read them.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use tempfile::TempDir;

use crate::daemon;

/// An authority. Its files go when it is dropped.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, and after it the authority's.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Makes the authority.
    ///
    /// # Panics
    /// When `openssl` is missing.
    pub fn new() -> Self {
        let folder = daemon::folder("ca");
        let config = "[req]\ndistinguished_name = name\nx509_extensions = ca\n[name]\n[ca]\n\
            basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n";
        std::fs::write(folder.path().join("req.conf"), config).expect("a file of ours");
        let authority = Authority { folder };
        authority.openssl(&format!(
            "req -x509 -config req.conf {NEW_KEY} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-authority"
        ));
        authority
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for servers of these names, or for a client of the first.
    ///
    /// # Panics
    /// When `openssl` refuses.
    pub fn issue(&self, names: &[&str]) -> Issued {
        let name = names.first().expect("a name");
        let all: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let extensions = format!(
            "basicConstraints = critical, CA:FALSE\nextendedKeyUsage = serverAuth, clientAuth\n\
            authorityKeyIdentifier = keyid\nsubjectAltName = {}\n",
            all.join(", ")
        );
        std::fs::write(self.folder.path().join("extensions"), extensions).expect("a file of ours");
        self.openssl(&format!(
            "req -new -config req.conf {NEW_KEY} -keyout {name}.key -out request -subj /CN={name}"
        ));
        self.openssl(&format!(
            "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ));
        let issued = Issued {
            certificate: self.folder.path().join(format!("{name}.pem")),
            key: self.folder.path().join(format!("{name}.key")),
        };
        // Chromium looks for a key it was told to trust among the certificates that the server sends.
        let chain = [&issued.certificate, &self.certificate()]
            .map(|file| std::fs::read(file).expect("a file of ours"))
            .concat();
        std::fs::write(&issued.certificate, chain).expect("a file of ours");
        everybody_may_read(&issued.key);
        issued
    }

    /// What Chromium calls the SPKI hash of the authority's key: by it the browser can be told to trust this authority
    /// and nothing else beyond what it trusts anyway.
    ///
    /// # Panics
    /// When `openssl` refuses.
    pub fn spki_hash(&self) -> String {
        self.openssl("pkey -in ca.key -pubout -outform DER -out public.der");
        let public = std::fs::read(self.folder.path().join("public.der")).expect("a file of ours");
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &public);
        base64::engine::general_purpose::STANDARD.encode(hash)
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.folder.path())
            .output()
            .expect("openssl: scripts/test installs it");
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

fn everybody_may_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("a file of ours");
}
