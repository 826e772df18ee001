//! A home directory of its own for one test: the program under test sees nothing of the machine's user.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A temporary home with the four XDG directories inside it. It is removed when dropped.
#[derive(Debug)]
pub struct Home {
    root: TempDir,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty home. Its path is short, because it has to hold unix sockets.
    pub fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("thv-")
            .tempdir()
            .expect("a temporary directory");
        Home { root }
    }

    /// The home directory.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// A path inside the home.
    pub fn join(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    /// The configuration shared with the Go program.
    pub fn config_file(&self) -> PathBuf {
        self.join("config/toolhive/config.yaml")
    }

    /// Where a running server says how to reach it.
    pub fn server_record(&self) -> PathBuf {
        self.join("state/toolhive/server/server.json")
    }

    /// The directory of cached data.
    pub fn cache_dir(&self) -> PathBuf {
        self.join("cache/toolhive")
    }

    /// Writes a file inside the home, with its directories, and returns its path.
    pub fn write(&self, relative: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(relative);
        std::fs::create_dir_all(path.parent().expect("a path inside the home"))
            .expect("a directory of ours");
        std::fs::write(&path, text).expect("a file of ours");
        path
    }

    /// Writes an executable script inside the home and returns its path.
    pub fn write_program(&self, relative: &str, script: &str) -> PathBuf {
        let path = self.join(relative);
        write_program(&path, script);
        path
    }

    /// Writes `config.yaml`.
    pub fn write_config(&self, text: &str) {
        self.write("config/toolhive/config.yaml", text);
    }

    /// Configures an API registry on loopback.
    pub fn use_api(&self, url: &str) {
        self.write_config(&format!(
            "registry_api_url: {url}\nallow_private_registry_ip: true\n"
        ));
    }

    /// Configures a registry document on loopback.
    pub fn use_url(&self, url: &str) {
        self.write_config(&format!(
            "registry_url: {url}\nallow_private_registry_ip: true\n"
        ));
    }

    /// Configures a registry document on disk.
    pub fn use_file(&self, path: &Path) {
        self.write_config(&format!("local_registry_path: {}\n", path.display()));
    }

    /// Writes a registry document into the home, configures it as the source and returns its path.
    pub fn use_document(&self, text: &str) -> PathBuf {
        let path = self.write("registry.json", text);
        self.use_file(&path);
        path
    }

    /// The configuration as it is on disk now; empty when there is none.
    pub fn config(&self) -> String {
        std::fs::read_to_string(self.config_file()).unwrap_or_default()
    }

    /// The environment a process needs to live here, and nothing else of ours.
    pub fn env(&self) -> Vec<(String, String)> {
        let inside = |name: &str| self.join(name).display().to_string();
        vec![
            ("HOME".to_owned(), self.path().display().to_string()),
            ("XDG_CONFIG_HOME".to_owned(), inside("config")),
            ("XDG_DATA_HOME".to_owned(), inside("data")),
            ("XDG_STATE_HOME".to_owned(), inside("state")),
            ("XDG_CACHE_HOME".to_owned(), inside("cache")),
            ("TOOLHIVE_SKIP_UPDATE_CHECK".to_owned(), "true".to_owned()),
            ("TOOLHIVE_SKIP_DESKTOP_CHECK".to_owned(), "true".to_owned()),
            ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
        ]
    }
}

/// Writes an executable script. A process of its own does it: what this one has open for writing, a child that another
/// thread is just starting has open, too, and until that has become another program the system does not run the script.
pub fn write_program(path: &Path, script: &str) {
    let status = Command::new("/bin/sh")
        .args(["-c", "printf %s \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .arg(script)
        .status()
        .expect("a shell");
    assert!(status.success(), "{}: {status}", path.display());
}
