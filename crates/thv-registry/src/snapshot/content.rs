//! A fingerprint of what a catalog holds, kept as a sum, so that a change to one entry costs
//! one subtraction and one addition. It tells contents apart and proves nothing: the records'
//! checksums that go into it are no protection against anyone.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::Edition;
use crate::entry::{Entry, Extension, ExtensionEntry};

/// The sum of all records, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    low: u64,
    high: u64,
    records: u64,
}

/// In which list a record stands: the same bytes elsewhere are another content.
const LATEST: u64 = 1;
const OLDER: u64 = 2;
const SKILL: u64 = 3;
const PLUGIN: u64 = 4;

// === impl Content ===

impl Content {
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.include(LATEST, entry.checksum(), entry.record());
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        let (low, high) = mixed(LATEST, entry.checksum(), entry.record());
        self.low = self.low.wrapping_sub(low);
        self.high = self.high.wrapping_sub(high);
        self.records = self.records.wrapping_sub(1);
    }

    pub(crate) fn add_older(&mut self, entry: &Entry) {
        self.include(OLDER, entry.checksum(), entry.record());
    }

    pub(crate) fn add_item(&mut self, extension: Extension, item: &ExtensionEntry) {
        let list = match extension {
            Extension::Skills => SKILL,
            Extension::Plugins => PLUGIN,
        };
        self.include(list, item.checksum(), item.record());
    }

    /// This and the other content together.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            low: self.low.wrapping_add(other.low),
            high: self.high.wrapping_add(other.high),
            records: self.records.wrapping_add(other.records),
        }
    }

    fn include(&mut self, list: u64, checksum: u32, record: &[u8]) {
        let (low, high) = mixed(list, checksum, record);
        self.low = self.low.wrapping_add(low);
        self.high = self.high.wrapping_add(high);
        self.records = self.records.wrapping_add(1);
    }

    /// A short name for this content in this edition, as written by this program.
    pub(crate) fn digest(&self, edition: &Edition) -> String {
        let mut hasher = Sha256::new();
        for part in [
            env!("CARGO_PKG_VERSION"),
            &edition.version,
            &edition.last_updated,
        ] {
            hasher.update(part);
            hasher.update([0]);
        }
        for number in [self.low, self.high, self.records] {
            hasher.update(number.to_le_bytes());
        }
        let mut digest = String::with_capacity(32);
        for byte in hasher.finalize().iter().take(16) {
            // Writing to a string does not fail.
            let _ = write!(digest, "{byte:02x}");
        }
        digest
    }
}

/// Two numbers spread over all bits: sums of plain checksums would cancel each other out.
fn mixed(list: u64, checksum: u32, record: &[u8]) -> (u64, u64) {
    let seed = (record.len() as u64) << 32 | u64::from(checksum);
    let low = spread(seed ^ list.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (low, spread(low ^ seed.rotate_left(32)))
}

/// The finaliser of `SplitMix64`: every bit of the input moves every bit of the result.
fn spread(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
