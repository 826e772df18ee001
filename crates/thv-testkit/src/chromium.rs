//! A real, headless Chromium that signs in at a provider's pages, driven by `tests/idp/chromium.mjs`.
//!
//! `scripts/test` installs the browser and its driver; without them the tests that need one fail, they are not skipped.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;

use crate::certificates::Authority;

/// A cold start on a busy machine, and then a login.
const WITHIN: Duration = Duration::from_mins(3);

/// Where the browser ended up.
#[derive(Clone, Debug, Deserialize)]
pub struct Landing {
    /// The last URL, which is the callback's (or where it leads) when all went well.
    pub url: String,
    /// The page's title.
    pub title: String,
    /// The text that a person sees on the page.
    pub text: String,
    /// Every URL the browser asked for, in order.
    pub requests: Vec<String>,
}

/// What the browser knows beyond this machine.
#[derive(Clone, Debug, Default)]
pub struct Chromium {
    env: Vec<(&'static str, String)>,
}

impl Chromium {
    /// Names under this domain are this machine.
    #[must_use]
    pub fn knowing(mut self, domain: &str) -> Self {
        self.env.push(("DOMAIN", domain.to_owned()));
        self
    }

    /// Certificates of this authority are trusted.
    #[must_use]
    pub fn trusting(mut self, authority: &Authority) -> Self {
        self.env.push(("TRUSTED", authority.spki_hash()));
        self
    }

    /// Opens an authorization URL, signs in through the provider's forms as `alice`, agrees, and waits for the page behind
    /// the callback.
    ///
    /// # Panics
    /// When the browser is missing or the login does not come to an end; with what it saw.
    pub async fn login(&self, authorization_url: &str) -> Landing {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/idp");
        assert!(
            folder.join("node_modules/playwright-core").is_dir(),
            "the browser's driver is not installed: run scripts/test, or `npm ci` in tests/idp"
        );
        let mut child = tokio::process::Command::new("node")
            .arg("chromium.mjs")
            .arg(authorization_url)
            .current_dir(&folder)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node: scripts/test installs it");
        // The browser ends when this pipe closes, and waiting for the output would close it.
        let _held = child.stdin.take();
        let output = tokio::time::timeout(WITHIN, child.wait_with_output())
            .await
            .expect("a login that ends")
            .expect("an output");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the browser failed: {stderr}");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|cause| panic!("no landing ({cause}): {stderr}"))
    }
}

/// [`Chromium::login`] with a browser that knows nothing but this machine.
///
/// # Panics
/// When the browser is missing or the login does not come to an end; with what it saw.
pub async fn chromium_login(authorization_url: &str) -> Landing {
    Chromium::default().login(authorization_url).await
}
