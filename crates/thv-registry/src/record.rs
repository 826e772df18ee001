//! The encoding of one catalog record: bytes, integers and length-prefixed texts, one after
//! the other, little-endian. Reading yields spans into the record, never copies, and never
//! trusts a length.

use std::ops::Range;

use bytes::Bytes;

/// A part of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

// === impl Span ===

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(crate) fn bytes(self, record: &Bytes) -> &[u8] {
        record.get(self.range()).unwrap_or_default()
    }

    pub(crate) fn text(self, record: &Bytes) -> &str {
        std::str::from_utf8(self.bytes(record)).unwrap_or_default()
    }

    pub(crate) fn slice(self, record: &Bytes) -> Bytes {
        if record.get(self.range()).is_some() {
            record.slice(self.range())
        } else {
            Bytes::new()
        }
    }
}

// === impl Writer ===

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(2048),
        }
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn integer(&mut self, integer: i64) {
        self.bytes.extend_from_slice(&integer.to_le_bytes());
    }

    /// Writes `bytes` behind their length. What does not fit a 32-bit length is cut; no row of
    /// a registry comes near, since pages are bounded far below.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes
            .extend_from_slice(bytes.get(..length as usize).unwrap_or(bytes));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn finish(mut self) -> Bytes {
        self.bytes.shrink_to_fit();
        Bytes::from(self.bytes)
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn integer(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn length(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize)
    }

    pub(crate) fn bytes(&mut self) -> Option<Span> {
        let length = self.length()?;
        let start = self.at;
        self.take(length)?;
        Some(Span {
            start: u32::try_from(start).ok()?,
            end: u32::try_from(self.at).ok()?,
        })
    }

    /// A part that must be UTF-8.
    pub(crate) fn text(&mut self) -> Option<Span> {
        let length = self.length()?;
        let start = self.at;
        std::str::from_utf8(self.take(length)?).ok()?;
        Some(Span {
            start: u32::try_from(start).ok()?,
            end: u32::try_from(self.at).ok()?,
        })
    }

    pub(crate) fn at_end(&self) -> bool {
        self.at == self.bytes.len()
    }
}
