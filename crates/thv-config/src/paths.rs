//! Where this user's files live: one function per file, over an injected environment.
//!
//! The places are those of the Go program, which reads and writes the same files: the XDG variables
//! win on every operating system, and each system has its own defaults. Nothing here touches the
//! disk.

use std::path::{Path, PathBuf};

use crate::error::ConfigError;
use crate::world::Env;

/// Our directory below each of the roots.
const OWN_DIRECTORY: &str = "toolhive";

/// The roots below which every file of this program lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    config: PathBuf,
    data: PathBuf,
    state: PathBuf,
    cache: PathBuf,
}

impl Paths {
    /// The roots for the user whose environment this is. An XDG variable counts when it holds an
    /// absolute path, after `~` and `$HOME` at its start stand for the home directory; otherwise
    /// the operating system's default applies.
    pub fn from_env(env: &dyn Env) -> Result<Self, ConfigError> {
        let root = |variable: &'static str, default: fn(&dyn Env) -> Option<PathBuf>| {
            from_variable(env, variable)
                .or_else(|| default(env))
                .map(|root| root.join(OWN_DIRECTORY))
                .ok_or(ConfigError::NoHome { variable })
        };
        Ok(Self {
            config: root("XDG_CONFIG_HOME", system::config)?,
            data: root("XDG_DATA_HOME", system::data)?,
            state: root("XDG_STATE_HOME", system::state)?,
            cache: root("XDG_CACHE_HOME", system::cache)?,
        })
    }

    /// The configuration, shared with the Go program.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.yaml")
    }

    /// What this program alone knows of registries. The Go program neither reads nor writes it.
    pub fn registries_file(&self) -> PathBuf {
        self.config.join("registries.json")
    }

    /// The record by which a running server is found.
    pub fn server_record(&self) -> PathBuf {
        self.state.join("server").join("server.json")
    }

    /// When people were asked to log in and nobody answered.
    pub fn login_prompts_file(&self) -> PathBuf {
        self.state.join("login-prompts.json")
    }

    /// The directory of cached catalogs. Ours alone: the Go program's cache has its own directory.
    pub fn catalog_cache_dir(&self) -> PathBuf {
        self.cache.join("catalogs")
    }

    /// The encrypted secrets, shared with the Go program.
    pub fn secrets_file(&self) -> PathBuf {
        self.data.join("secrets_encrypted")
    }

    /// What is remembered about newer releases.
    pub fn updates_file(&self) -> PathBuf {
        self.data.join("updates.json")
    }
}

fn from_variable(env: &dyn Env, variable: &str) -> Option<PathBuf> {
    let value = env.var(variable)?;
    let path = expand_home(env, &value).unwrap_or_else(|| PathBuf::from(&value));
    path.is_absolute().then_some(path)
}

fn expand_home(env: &dyn Env, value: &str) -> Option<PathBuf> {
    let rest = value
        .strip_prefix('~')
        .or_else(|| value.strip_prefix("$HOME"))?;
    let home = env.home_dir()?;
    match rest.strip_prefix('/') {
        Some(below) => Some(home.join(below)),
        None if rest.is_empty() => Some(home),
        None => None,
    }
}

fn below_home(env: &dyn Env, relative: &str) -> Option<PathBuf> {
    env.home_dir().map(|home| home.join(Path::new(relative)))
}

/// The defaults of Linux and of other systems that follow the XDG specification.
#[cfg(not(any(target_os = "macos", windows)))]
mod system {
    use super::{Env, PathBuf, below_home};

    pub(super) fn config(env: &dyn Env) -> Option<PathBuf> {
        below_home(env, ".config")
    }

    pub(super) fn data(env: &dyn Env) -> Option<PathBuf> {
        below_home(env, ".local/share")
    }

    pub(super) fn state(env: &dyn Env) -> Option<PathBuf> {
        below_home(env, ".local/state")
    }

    pub(super) fn cache(env: &dyn Env) -> Option<PathBuf> {
        below_home(env, ".cache")
    }
}

/// The defaults of macOS.
#[cfg(target_os = "macos")]
mod system {
    use super::{Env, PathBuf, below_home};

    pub(super) fn config(env: &dyn Env) -> Option<PathBuf> {
        below_home(env, "Library/Application Support")
    }

    pub(super) use config as data;
    pub(super) use config as state;

    pub(super) fn cache(env: &dyn Env) -> Option<PathBuf> {
        below_home(env, "Library/Caches")
    }
}

/// The defaults of Windows.
#[cfg(windows)]
mod system {
    use super::{Env, PathBuf, below_home};

    pub(super) fn config(env: &dyn Env) -> Option<PathBuf> {
        match env.var("LOCALAPPDATA") {
            Some(local) if !local.is_empty() => Some(PathBuf::from(local)),
            _ => below_home(env, "AppData/Local"),
        }
    }

    pub(super) use config as data;
    pub(super) use config as state;

    pub(super) fn cache(env: &dyn Env) -> Option<PathBuf> {
        config(env).map(|local| local.join("cache"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::MapEnv;

    #[cfg(target_os = "linux")]
    #[test]
    fn without_variables_files_live_below_the_home_directory() {
        let env = MapEnv::new().with_home("/home/ann");
        let paths = Paths::from_env(&env).unwrap();
        let shown = [
            paths.config_file(),
            paths.registries_file(),
            paths.server_record(),
            paths.catalog_cache_dir(),
            paths.secrets_file(),
            paths.updates_file(),
        ];
        assert_eq!(
            shown,
            [
                "/home/ann/.config/toolhive/config.yaml",
                "/home/ann/.config/toolhive/registries.json",
                "/home/ann/.local/state/toolhive/server/server.json",
                "/home/ann/.cache/toolhive/catalogs",
                "/home/ann/.local/share/toolhive/secrets_encrypted",
                "/home/ann/.local/share/toolhive/updates.json",
            ]
            .map(PathBuf::from)
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_xdg_variables_win() {
        let env = MapEnv::from([
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_DATA_HOME", "/d"),
            ("XDG_STATE_HOME", "/s"),
            ("XDG_CACHE_HOME", "/k"),
        ]);
        let paths = Paths::from_env(&env).unwrap();
        assert_eq!(paths.config_file(), Path::new("/c/toolhive/config.yaml"));
        assert_eq!(
            paths.secrets_file(),
            Path::new("/d/toolhive/secrets_encrypted")
        );
        assert_eq!(
            paths.server_record(),
            Path::new("/s/toolhive/server/server.json")
        );
        assert_eq!(paths.catalog_cache_dir(), Path::new("/k/toolhive/catalogs"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_relative_or_empty_variable_does_not_count_and_a_tilde_is_the_home_directory() {
        for (value, expected) in [
            ("", "/home/ann/.config/toolhive/config.yaml"),
            ("here", "/home/ann/.config/toolhive/config.yaml"),
            ("~ben/x", "/home/ann/.config/toolhive/config.yaml"),
            ("~/x", "/home/ann/x/toolhive/config.yaml"),
            ("~", "/home/ann/toolhive/config.yaml"),
            ("$HOME/y", "/home/ann/y/toolhive/config.yaml"),
        ] {
            let env = MapEnv::from([("XDG_CONFIG_HOME", value)]).with_home("/home/ann");
            let paths = Paths::from_env(&env).unwrap();
            assert_eq!(paths.config_file(), Path::new(expected), "{value:?}");
        }
    }

    #[test]
    fn without_a_home_the_error_names_the_variable_to_set() {
        let error = Paths::from_env(&MapEnv::new()).unwrap_err();
        assert_eq!(
            error,
            ConfigError::NoHome {
                variable: "XDG_CONFIG_HOME"
            }
        );
    }
}
