//! A keyring for tests: holds what it is told, counts, refuses and hangs on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use secrecy::{ExposeSecret as _, SecretString};

use super::{Keyring, KeyringError};

#[derive(Debug)]
pub(crate) struct FakeKeyring {
    name: &'static str,
    is_durable: bool,
    held: Mutex<Result<Option<String>, KeyringError>>,
    is_hanging: Mutex<bool>,
    released: Condvar,
    lookups: AtomicUsize,
    callers: Arc<()>,
}

impl FakeKeyring {
    pub(crate) fn durable() -> Self {
        Self::new("the OS keyring", true)
    }

    pub(crate) fn volatile() -> Self {
        Self::new("the kernel keyring", false)
    }

    fn new(name: &'static str, is_durable: bool) -> Self {
        Self {
            name,
            is_durable,
            held: Mutex::new(Ok(None)),
            is_hanging: Mutex::new(false),
            released: Condvar::new(),
            lookups: AtomicUsize::new(0),
            callers: Arc::default(),
        }
    }

    pub(crate) fn holding(self, password: &str) -> Self {
        self.put(password);
        self
    }

    pub(crate) fn refusing(self, error: KeyringError) -> Self {
        *self.held.lock().unwrap() = Err(error);
        self
    }

    pub(crate) fn hanging(self) -> Self {
        *self.is_hanging.lock().unwrap() = true;
        self
    }

    pub(crate) fn put(&self, password: &str) {
        *self.held.lock().unwrap() = Ok(Some(password.to_owned()));
    }

    pub(crate) fn held(&self) -> Option<String> {
        self.held.lock().unwrap().clone().unwrap()
    }

    pub(crate) fn release(&self) {
        *self.is_hanging.lock().unwrap() = false;
        self.released.notify_all();
    }

    pub(crate) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }

    /// Waits until nobody is in a call that hung.
    pub(crate) fn idle(&self) {
        while Arc::strong_count(&self.callers) > 1 {
            std::thread::yield_now();
        }
    }

    /// Stays for as long as the keyring hangs; the caller is in the keyring for as long as it keeps what it gets.
    fn hang(&self) -> Arc<()> {
        let caller = Arc::clone(&self.callers);
        let is_hanging = self.is_hanging.lock().unwrap();
        let _released = self
            .released
            .wait_while(is_hanging, |is_hanging| *is_hanging)
            .unwrap();
        caller
    }
}

impl Keyring for FakeKeyring {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_durable(&self) -> bool {
        self.is_durable
    }

    fn password(&self, _may_ask: bool) -> Result<Option<SecretString>, KeyringError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let _caller = self.hang();
        self.held
            .lock()
            .unwrap()
            .clone()
            .map(|held| held.map(SecretString::from))
    }

    fn offer_password(
        &self,
        password: &SecretString,
        still_wanted: &dyn Fn() -> bool,
    ) -> Result<(), KeyringError> {
        let _caller = self.hang();
        let mut held = self.held.lock().unwrap();
        if held.clone()?.is_none() && still_wanted() {
            *held = Ok(Some(password.expose_secret().to_owned()));
        }
        Ok(())
    }

    fn clear(&self) -> Result<bool, KeyringError> {
        let _caller = self.hang();
        let mut held = self.held.lock().unwrap();
        held.clone()?;
        Ok(std::mem::replace(&mut *held, Ok(None)).is_ok_and(|held| held.is_some()))
    }
}
