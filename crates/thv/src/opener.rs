//! The person's browser. Only a login is ever given it.
//!
//! The browser is opened by a copy of this program whose environment holds no secrets: what starts
//! a browser hands its environment on, and every page's helper would carry the store's password.
//! Where there is no display nothing is started at all: what opens addresses says that it did, and nobody would see it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use thv_auth::opener::Opener;
use thv_config::disk;
use thv_config::world::Env;
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

/// What a person's screen is known by: a display, or a program that stands in for it.
const DISPLAYS: [&str; 3] = ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"];

/// Say whether Linux on Windows may start programs of Windows, the browser among them; the second where systemd runs.
const WSL_INTEROP: [&str; 2] = [
    "/proc/sys/fs/binfmt_misc/WSLInterop",
    "/proc/sys/fs/binfmt_misc/WSLInterop-late",
];

/// What is read of that file, in bytes; its first line says it.
const WSL_INTEROP_MAX: u64 = 4096;

/// Opens URLs in the default browser.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    env: Arc<dyn Env>,
}

impl Browser {
    /// The browser of whoever has this environment.
    pub(crate) fn new(env: &Arc<dyn Env>) -> Self {
        Self {
            env: Arc::clone(env),
        }
    }

    /// Whether somebody could see it. Systems other than Linux have no variable that would say.
    pub(crate) fn has_display(&self) -> bool {
        !cfg!(target_os = "linux") || has_display(&*self.env, &WSL_INTEROP.map(Path::new))
    }
}

/// Whether the environment names a display, or one of `wsl_interop` says that Windows has one.
fn has_display(env: &dyn Env, wsl_interop: &[&Path]) -> bool {
    let is_set = |name: &str| env.var(name).is_some_and(|value| !value.is_empty());
    DISPLAYS.iter().any(|name| is_set(name))
        || wsl_interop.iter().any(|path| {
            disk::read_bounded(path, WSL_INTEROP_MAX).is_ok_and(|text| text.starts_with(b"enabled"))
        })
}

impl Opener for Browser {
    fn open(&self, url: &Url) -> Result<(), String> {
        if !self.has_display() {
            return Err("this machine has no display to show one on (neither DISPLAY nor WAYLAND_DISPLAY is set, nor BROWSER)".to_owned());
        }
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

#[cfg(test)]
mod tests {
    use thv_config::world::MapEnv;

    use super::*;

    #[test]
    fn a_display_is_a_variable_or_windows() {
        let folder = tempfile::tempdir().expect("a directory");
        let interop = folder.path().join("WSLInterop");
        assert!(!has_display(&MapEnv::new(), &[&interop]));
        assert!(!has_display(&MapEnv::from([("DISPLAY", "")]), &[&interop]));
        for name in DISPLAYS {
            assert!(
                has_display(&MapEnv::from([(name, "x")]), &[&interop]),
                "{name}"
            );
        }
        for (text, has) in [
            ("disabled\n", false),
            ("enabled\ninterpreter /init\n", true),
        ] {
            disk::write_atomic(&interop, text.as_bytes()).expect("a file");
            assert_eq!(has_display(&MapEnv::new(), &[&interop]), has, "{text}");
        }
    }
}
