//! A stand-in for the desktop's browser: an executable that writes the URL it is asked to open into a file.
//!
//! It is found under every name a program may try (`BROWSER`, `xdg-open` and its like, first on `PATH`), so a test also
//! knows that nothing was opened when the file stays empty.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::home::Home;
use crate::wait::{PATIENCE, until};

const NAMES: [&str; 8] = [
    "thv-test-browser",
    "xdg-open",
    "sensible-browser",
    "x-www-browser",
    "www-browser",
    "gio",
    "firefox",
    "chromium",
];

/// The stand-in, inside a home.
#[derive(Clone, Debug)]
pub struct Opener {
    folder: PathBuf,
    record: PathBuf,
}

impl Opener {
    /// Installs the stand-in into `home`.
    pub fn install(home: &Home) -> Self {
        let record = home.join("opened-urls");
        // One write of one line, so that two openings at once do not mix.
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\nprintf '%s\\n' \"$last\" >> '{}'\n",
            record.display()
        );
        for name in NAMES {
            let path = home.write(&format!("opener/{name}"), &script);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
                .expect("a file of ours");
        }
        Opener {
            folder: home.join("opener"),
            record,
        }
    }

    /// The variables that make a child use it; they go after those of [`Home::env`].
    pub fn env(&self) -> Vec<(String, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        vec![
            (
                "BROWSER".to_owned(),
                self.folder.join(NAMES[0]).display().to_string(),
            ),
            (
                "PATH".to_owned(),
                format!("{}:{path}", self.folder.display()),
            ),
            // Without a display, some programs do not even try.
            ("DISPLAY".to_owned(), ":99".to_owned()),
        ]
    }

    /// Everything that was opened so far.
    pub fn urls(&self) -> Vec<String> {
        std::fs::read_to_string(&self.record)
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The `number`-th URL, counted from 1, as soon as it is opened.
    ///
    /// # Panics
    /// When nothing is opened.
    pub async fn url(&self, number: usize) -> String {
        until("a URL to be opened", PATIENCE, || {
            std::future::ready(self.urls().get(number - 1).cloned())
        })
        .await
    }
}
