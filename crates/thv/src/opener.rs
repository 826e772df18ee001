//! The person's browser. Only a login is ever given it.
//!
//! The browser is opened by a copy of this program whose environment holds no secrets: what starts
//! a browser hands its environment on, and every page's helper would carry the store's password.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use thv_auth::opener::Opener;
use url::Url;

use crate::failure::CommandError;

/// The hidden verb of the copy.
pub(crate) const VERB: &str = "open-address";

/// Variables that begin so may hold secrets.
const SECRET_PREFIXES: [&str; 5] = [
    "TOOLHIVE_SECRET",
    "TOOLHIVE_OIDC_CLIENT_SECRET",
    "OP_SERVICE",
    "THV_REGISTRY_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_",
];

/// The longest address that the copy takes, in bytes.
const MAX_ADDRESS: u64 = 64 * 1024;

/// Opens URLs in the default browser.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Browser;

impl Opener for Browser {
    fn open(&self, url: &Url) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command
            .arg(VERB)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if SECRET_PREFIXES
                .iter()
                .any(|prefix| text.starts_with(prefix))
            {
                command.env_remove(&name);
            }
        }
        let mut copy = command.spawn().map_err(|error| error.to_string())?;
        if let Some(mut stdin) = copy.stdin.take() {
            // A copy that is gone says so by its exit code.
            let _ = stdin.write_all(url.as_str().as_bytes());
        }
        let ended = copy.wait().map_err(|error| error.to_string())?;
        if ended.success() {
            Ok(())
        } else {
            Err("no browser was found on this machine".to_owned())
        }
    }
}

/// What the copy does: opens the address that comes on standard input, an http or https URL.
pub(crate) fn open_address() -> Result<(), CommandError> {
    let mut address = String::new();
    std::io::stdin()
        .take(MAX_ADDRESS)
        .read_to_string(&mut address)?;
    let url = Url::parse(address.trim())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| CommandError::Usage("give an http or https address".to_owned()))?;
    webbrowser::open(url.as_str())?;
    Ok(())
}
