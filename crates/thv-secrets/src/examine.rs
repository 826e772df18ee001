//! Whether the store works, found out for somebody who wants to know why it does not: what would be opened, whether its key
//! can be had, and whether it gives back what it is given. What the user keeps is as it was afterwards, and nothing is set up.

use crate::error::SecretsError;
use crate::keyring::Patience;
use crate::secrets::{Secrets, StoreReport};

/// What an examination found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// Which store is meant, and why.
    pub report: StoreReport,
    /// Where its key is, in words for people; `None` where there is no key, or none that can be had.
    pub key: Option<String>,
    /// Whether it works.
    pub round_trip: RoundTrip,
}

/// Whether a store gives back what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoundTrip {
    /// It does: a value was written, read and deleted.
    Done,
    /// Nothing was ever kept in it, so that it was not written to either.
    NothingYet,
    /// It takes no writes.
    ReadOnly,
    /// It does not.
    Failed(SecretsError),
}

impl Secrets {
    /// Examines the store that is meant for what belongs to the system. Blocks as [`Secrets::open`] does, and on the
    /// disk.
    pub fn examine(&self, patience: Patience) -> Result<Examination, SecretsError> {
        let report = self.describe()?;
        let is_empty = report.file.is_some() && report.content.is_none();
        let round_trip = match self.open(patience) {
            Err(SecretsError::NotSetUp { .. }) => RoundTrip::NothingYet,
            Err(error) if is_empty && error.is_missing_key() => RoundTrip::NothingYet,
            Err(error) => RoundTrip::Failed(error),
            Ok(store) if !store.capabilities().write => RoundTrip::ReadOnly,
            Ok(_) if is_empty => RoundTrip::NothingYet,
            Ok(store) => match store.probe() {
                Ok(()) => RoundTrip::Done,
                Err(error) => RoundTrip::Failed(error),
            },
        };
        let key = report
            .key
            .as_ref()
            .and_then(|_| self.key_place(patience).ok())
            .map(|place| place.described);
        Ok(Examination {
            report,
            key,
            round_trip,
        })
    }
}
