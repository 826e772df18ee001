//! The one way to the configuration file: reading it as it is now, and changing it as a whole.
//!
//! A change is a transaction: lock, read, apply, write, unlock; readers see the file before it or
//! after it. Whatever the file holds that we do not know is kept. Nothing is cached here, because the
//! Go program changes the same file at any moment; [`crate::ConfigWatch`] follows it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{FileLock, ReadError, prove_writable, read_bounded, write_atomic};
use crate::error::ConfigError;
use crate::limits::{CONFIG_LOCK_WAIT, CONFIG_MAX_BYTES, HALF_WRITTEN_PATIENCE, HALF_WRITTEN_POLL};
use crate::model::Config;
use crate::world::World;
use crate::yaml::Document;

/// More links than a sane path has; the operating system gives up earlier.
const MAX_LINKS: usize = 40;

/// The configuration file at one path. Clones are the same store.
#[derive(Clone, Debug)]
pub struct ConfigStore {
    path: PathBuf,
    world: World,
    /// Lets the threads of one process queue without polling the file lock.
    turn: Arc<Mutex<()>>,
    /// Whether nothing is to be written.
    only_looks: bool,
}

impl ConfigStore {
    /// The store for the file at `path`. Touches nothing yet.
    pub fn new(path: impl Into<PathBuf>, world: World) -> Self {
        Self {
            path: path.into(),
            world,
            turn: Arc::new(Mutex::new(())),
            only_looks: false,
        }
    }

    /// The same file for somebody who only looks: every change is refused as [`ConfigError::Unwritable`], and reading
    /// creates nothing.
    #[must_use]
    pub fn only_looking(&self) -> Self {
        Self {
            only_looks: true,
            ..self.clone()
        }
    }

    /// The file by whose lock writers exclude each other.
    pub fn lock_file(&self) -> PathBuf {
        FileLock::beside(&self.path)
    }

    /// The configuration file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The world this store lives in.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The configuration as it stands in the file now. A missing file means the defaults and is
    /// created with them; where it cannot be created they hold all the same. A file that looks
    /// half-written is read again for [`HALF_WRITTEN_PATIENCE`], and an error after that, never the
    /// defaults. Blocks.
    pub fn load(&self) -> Result<Config, ConfigError> {
        match self.read()? {
            Some(document) if !document.wants_migration() => Ok(document.config().clone()),
            found => match self.update(|config| Ok::<_, ConfigError>(config.clone())) {
                Err(
                    error @ (ConfigError::Unwritable { .. }
                    | ConfigError::Locked { .. }
                    | ConfigError::NotEditable { .. }),
                ) => {
                    tracing::debug!(%error, "the configuration is used without being written");
                    Ok(found.map_or_else(Config::default, |document| document.config().clone()))
                }
                settled => settled,
            },
        }
    }

    /// Changes the configuration in one transaction and returns what `change` returns. When `change`
    /// fails or changes nothing, nothing is written. The lock is waited for at most
    /// [`CONFIG_LOCK_WAIT`], and held only while the file is read and written: `change` must not
    /// wait for anything. Blocks.
    pub fn update<T, E: From<ConfigError>>(
        &self,
        change: impl FnOnce(&mut Config) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.only_looks {
            return Err(E::from(ConfigError::Unwritable {
                path: self.path.clone(),
                cause: "it is only looked at".to_owned(),
            }));
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = FileLock::acquire(
            &self.lock_file(),
            self.world.clock.as_ref(),
            CONFIG_LOCK_WAIT,
        )
        .map_err(ConfigError::from)?;
        let found = self.read()?;
        let is_new = found.is_none();
        let document = found.unwrap_or_else(Document::missing);
        let mut wanted = document.config().clone();
        let outcome = change(&mut wanted)?;
        let wanted = wanted.normalised();
        if is_new || wanted != *document.config() || document.wants_migration() {
            self.write(&document, &wanted)?;
        }
        Ok(outcome)
    }

    /// [`ConfigStore::load`] for async callers.
    pub async fn load_async(&self) -> Result<Config, ConfigError> {
        let store = self.clone();
        blocking(move || store.load()).await
    }

    /// [`ConfigStore::update`] for async callers. The transaction runs to its end even if the caller
    /// stops waiting.
    pub async fn update_async<T, E>(
        &self,
        change: impl FnOnce(&mut Config) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ConfigError> + Send + 'static,
    {
        let store = self.clone();
        blocking(move || store.update(change)).await
    }

    /// Whether a change could be written now, as far as that is found out without one: by the lock, and a new file beside the
    /// configuration, which goes again. Blocks.
    pub fn prove_writable(&self) -> Result<(), ConfigError> {
        self.update(|_| Ok::<_, ConfigError>(()))?;
        prove_writable(&self.target()).map_err(|error| ConfigError::Unwritable {
            path: self.path.clone(),
            cause: error.to_string(),
        })
    }

    /// The file's content; `None` when there is no file.
    fn read(&self) -> Result<Option<Document>, ConfigError> {
        let clock = &self.world.clock;
        let start = clock.monotonic();
        let mut previous = None;
        loop {
            let bytes = match read_bounded(&self.path, CONFIG_MAX_BYTES) {
                Ok(bytes) => bytes,
                Err(ReadError::NotFound) => return Ok(None),
                Err(ReadError::TooLarge { limit }) => {
                    return Err(ConfigError::TooLarge {
                        path: self.path.clone(),
                        limit,
                    });
                }
                Err(ReadError::Io(error)) => {
                    return Err(ConfigError::Unreadable {
                        path: self.path.clone(),
                        cause: error.to_string(),
                    });
                }
            };
            let out_of_patience = clock.monotonic().saturating_sub(start) >= HALF_WRITTEN_PATIENCE;
            // A line without its end may be half of one. Two equal readings say that it is whole.
            let settled = bytes.ends_with(b"\n") || previous.as_ref() == Some(&bytes);
            match parse(&bytes) {
                Ok(document) if settled || out_of_patience => return Ok(Some(document)),
                Err(cause) if out_of_patience => {
                    return Err(ConfigError::Malformed {
                        path: self.path.clone(),
                        cause,
                    });
                }
                _ => {}
            }
            previous = Some(bytes);
            clock.pause(HALF_WRITTEN_POLL);
        }
    }

    fn write(&self, document: &Document, wanted: &Config) -> Result<(), ConfigError> {
        let text = document
            .text_for(wanted)
            .map_err(|cause| ConfigError::NotEditable {
                path: self.path.clone(),
                cause,
            })?;
        write_atomic(&self.target(), text.as_bytes()).map_err(|error| ConfigError::Unwritable {
            path: self.path.clone(),
            cause: error.to_string(),
        })
    }

    /// The file that is meant when the path is a symbolic link: the link itself stays.
    fn target(&self) -> PathBuf {
        let mut target = self.path.clone();
        for _ in 0..MAX_LINKS {
            let Ok(link) = std::fs::read_link(&target) else {
                break;
            };
            target.pop();
            target.push(link);
        }
        target
    }
}

fn parse(bytes: &[u8]) -> Result<Document, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    Document::parse(text.to_owned())
}

/// Runs `work` where it may block.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<ConfigError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ConfigError::Stopping.into()),
        },
    }
}

#[cfg(test)]
mod tests;
