//! One server of a catalog, and one skill or plugin.
//!
//! An entry is one encoded record: the texts that lookups need, the original `server.json`, the
//! registry's own `_meta` and the `v1beta` view, one after the other in shared memory. The same
//! bytes are what the disk cache holds, so that a catalog is read from disk without parsing
//! any JSON.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::format::page::{LifeCycle, Official, Row};
use crate::format::server::{self, RowError};
use crate::json;
use crate::record::{Reader, Span, Writer};
use crate::view::{self, View};

/// Key of the registry's own metadata in the `_meta` beside a server.
pub const OFFICIAL_META: &str = "io.modelcontextprotocol.registry/official";

/// One version of one server.
#[derive(Clone, Debug)]
pub struct Entry {
    record: Bytes,
    checksum: u32,
    life_cycle: LifeCycle,
    kind: Kind,
    latest: Option<bool>,
    updated_ms: i64,
    published_ms: Option<i64>,
    name: Span,
    version: Span,
    title: Span,
    description: Span,
    tags: Span,
    raw: Span,
    meta: Span,
    view: Span,
}

/// How an entry looks through the `v1beta` routes.
#[derive(Clone, Copy, Debug)]
pub enum ViewRef<'a> {
    /// A container image: the JSON of an `ImageMetadata`.
    Container(&'a [u8]),
    /// A remote server: the JSON of a `RemoteServerMetadata`.
    Remote(&'a [u8]),
    /// Not shown there, for this reason.
    Omitted(&'a str),
}

/// One skill or plugin.
#[derive(Clone, Debug)]
pub struct ExtensionEntry {
    record: Bytes,
    checksum: u32,
    namespace: Span,
    name: Span,
    description: Span,
    version: Span,
    raw: Span,
}

/// Which of the two extensions of the registry API an item belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extension {
    /// `dev.toolhive/skills`
    Skills,
    /// `dev.toolhive/plugins`
    Plugins,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Container,
    Remote,
    Omitted,
}

// === impl Entry ===

impl Entry {
    /// Reads one row of a registry.
    ///
    /// `seen` stands in for the time of the last change where the registry does not tell it.
    ///
    /// # Errors
    /// Fails only when the row has no usable name; whatever else is odd in it is kept as it is.
    pub fn from_row(row: &Row<'_>, seen: Timestamp) -> Result<Self, RowError> {
        Self::new(row.server, row.meta, &row.official, seen)
    }

    /// Reads one `server.json`, with what the registry says of it.
    ///
    /// # Errors
    /// As [`Entry::from_row`].
    pub fn new(
        server: &RawValue,
        meta: Option<&RawValue>,
        official: &Official,
        seen: Timestamp,
    ) -> Result<Self, RowError> {
        let parsed = server::read_server(server)?;
        let life_cycle = official.status.unwrap_or(LifeCycle::Active);
        let projected = view::project(&parsed, life_cycle == LifeCycle::Deprecated);
        let updated = timestamp(official.updated_at.as_deref())
            .or_else(|| timestamp(official.published_at.as_deref()))
            .unwrap_or(seen);
        let (kind, rendered) = match &projected {
            View::Container(image) => (Kind::Container, json::to_vec(image)),
            View::Remote(remote) => (Kind::Remote, json::to_vec(remote)),
            View::Omitted(omission) => (Kind::Omitted, Ok(omission.to_string().into_bytes())),
        };
        let (kind, rendered) = match rendered {
            Ok(bytes) => (kind, bytes),
            Err(error) => (Kind::Omitted, error.to_string().into_bytes()),
        };
        let mut writer = Writer::new();
        writer.byte(life_cycle_byte(life_cycle));
        writer.byte(kind.byte());
        writer.byte(match official.is_latest {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        });
        writer.integer(updated.as_millisecond());
        writer.integer(
            timestamp(official.published_at.as_deref()).map_or(i64::MIN, Timestamp::as_millisecond),
        );
        writer.text(&parsed.name);
        writer.text(parsed.version.as_deref().unwrap_or_default());
        writer.text(parsed.title.as_deref().unwrap_or_default());
        writer.text(parsed.description.as_deref().unwrap_or_default());
        writer.text(&view::tags(&parsed).join("\n"));
        writer.bytes(&json::compact(server.get()));
        writer.bytes(&registry_meta(meta, official, life_cycle, updated));
        writer.bytes(&rendered);
        let record = writer.finish();
        let checksum = crc32fast::hash(&record);
        Self::decode(record, checksum).ok_or(RowError::Unusable)
    }

    /// Reads an encoded record with its CRC-32; `None` when it is not one.
    pub(crate) fn decode(record: Bytes, checksum: u32) -> Option<Self> {
        let mut reader = Reader::new(&record);
        let life_cycle = life_cycle_of(reader.byte()?)?;
        let kind = Kind::of(reader.byte()?)?;
        let latest = match reader.byte()? {
            0 => None,
            1 => Some(false),
            2 => Some(true),
            _ => return None,
        };
        let updated_ms = reader.integer()?;
        let published_ms = Some(reader.integer()?).filter(|ms| *ms != i64::MIN);
        let name = reader.text()?;
        let version = reader.text()?;
        let title = reader.text()?;
        let description = reader.text()?;
        let tags = reader.text()?;
        let raw = reader.bytes()?;
        let meta = reader.bytes()?;
        let view = reader.bytes()?;
        reader.at_end().then_some(())?;
        Some(Self {
            record,
            checksum,
            life_cycle,
            kind,
            latest,
            updated_ms,
            published_ms,
            name,
            version,
            title,
            description,
            tags,
            raw,
            meta,
            view,
        })
    }

    pub(crate) fn record(&self) -> &Bytes {
        &self.record
    }

    /// CRC-32 of the record.
    pub(crate) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Full name, `namespace/name`.
    pub fn name(&self) -> &str {
        self.name.text(&self.record)
    }

    /// The name as bytes: their order is the order of names, and comparing them skips the check
    /// for UTF-8 that [`Entry::name`] makes.
    pub(crate) fn name_bytes(&self) -> &[u8] {
        self.name.bytes(&self.record)
    }

    /// The part of the name behind the slash.
    pub fn short_name(&self) -> &str {
        short_name(self.name())
    }

    /// Version; empty when the row has none.
    pub fn version(&self) -> &str {
        self.version.text(&self.record)
    }

    /// Title for people; empty when the row has none.
    pub fn title(&self) -> &str {
        self.title.text(&self.record)
    }

    /// Description; empty when the row has none.
    pub fn description(&self) -> &str {
        self.description.text(&self.record)
    }

    /// Tags of the publisher's extension, in their order.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags
            .text(&self.record)
            .split('\n')
            .filter(|tag| !tag.is_empty())
    }

    /// Where the version stands in its life.
    pub fn life_cycle(&self) -> LifeCycle {
        self.life_cycle
    }

    /// Whether the registry called this the latest version of its server.
    pub(crate) fn marked_latest(&self) -> Option<bool> {
        self.latest
    }

    /// When the registry last changed the row; where it does not say, when we first saw it so.
    pub fn updated_at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.updated_ms).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub(crate) fn published_ms(&self) -> Option<i64> {
        self.published_ms
    }

    /// The original `server.json`: white space aside, the text that the registry sent.
    pub fn raw(&self) -> Bytes {
        self.raw.slice(&self.record)
    }

    /// The `_meta` object that stands beside the server in an answer of the standard API.
    pub fn registry_meta(&self) -> Bytes {
        self.meta.slice(&self.record)
    }

    /// How the entry looks through the `v1beta` routes.
    pub fn view(&self) -> ViewRef<'_> {
        match self.kind {
            Kind::Container => ViewRef::Container(self.view.bytes(&self.record)),
            Kind::Remote => ViewRef::Remote(self.view.bytes(&self.record)),
            Kind::Omitted => ViewRef::Omitted(self.view.text(&self.record)),
        }
    }

    /// The row as the standard API sends it: `{"server":…,"_meta":…}`.
    pub fn envelope(&self) -> Vec<u8> {
        let raw = self.raw.bytes(&self.record);
        let meta = self.meta.bytes(&self.record);
        let mut body = Vec::with_capacity(raw.len() + meta.len() + 24);
        self.write_envelope(&mut body);
        body
    }

    /// Appends [`Entry::envelope`] to `body`.
    pub fn write_envelope(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(b"{\"server\":");
        body.extend_from_slice(self.raw.bytes(&self.record));
        body.extend_from_slice(b",\"_meta\":");
        body.extend_from_slice(self.meta.bytes(&self.record));
        body.push(b'}');
    }
}

/// The part of a server's name behind its slash.
pub(crate) fn short_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, short)| short)
}

fn timestamp(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

/// The registry's `_meta` with an official part in any case: clients of the standard API read
/// the status and the latest mark there.
fn registry_meta(
    meta: Option<&RawValue>,
    official: &Official,
    life_cycle: LifeCycle,
    updated: Timestamp,
) -> Vec<u8> {
    let given = meta
        .map(|meta| json::compact(meta.get()))
        .unwrap_or_default();
    let members = given
        .strip_prefix(b"{")
        .and_then(|rest| rest.strip_suffix(b"}"))
        .unwrap_or_default();
    if official.status.is_some() || official.updated_at.is_some() || official.is_latest.is_some() {
        return given;
    }
    let mut out = format!(
        "{{\"{OFFICIAL_META}\":{{\"status\":\"{}\",\"updatedAt\":\"{updated}\",\"isLatest\":true}}",
        life_cycle_word(life_cycle),
    )
    .into_bytes();
    if !members.is_empty() && !contains(members, OFFICIAL_META.as_bytes()) {
        out.push(b',');
        out.extend_from_slice(members);
    }
    out.push(b'}');
    out
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

fn life_cycle_word(life_cycle: LifeCycle) -> &'static str {
    match life_cycle {
        LifeCycle::Active => "active",
        LifeCycle::Deprecated => "deprecated",
        LifeCycle::Deleted => "deleted",
    }
}

fn life_cycle_byte(life_cycle: LifeCycle) -> u8 {
    match life_cycle {
        LifeCycle::Active => 0,
        LifeCycle::Deprecated => 1,
        LifeCycle::Deleted => 2,
    }
}

fn life_cycle_of(byte: u8) -> Option<LifeCycle> {
    match byte {
        0 => Some(LifeCycle::Active),
        1 => Some(LifeCycle::Deprecated),
        2 => Some(LifeCycle::Deleted),
        _ => None,
    }
}

// === impl Kind ===

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Container => 0,
            Self::Remote => 1,
            Self::Omitted => 2,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Container),
            1 => Some(Self::Remote),
            2 => Some(Self::Omitted),
            _ => None,
        }
    }
}

// === impl ExtensionEntry ===

impl ExtensionEntry {
    /// Reads one skill or plugin.
    ///
    /// # Errors
    /// Fails when the item lacks a usable namespace or name.
    pub fn new(item: &RawValue) -> Result<Self, RowError> {
        let parsed = server::read_extension_item(item)?;
        let mut writer = Writer::new();
        writer.text(&parsed.namespace);
        writer.text(&parsed.name);
        writer.text(&parsed.description);
        writer.text(&parsed.version);
        writer.bytes(&json::compact(item.get()));
        let record = writer.finish();
        let checksum = crc32fast::hash(&record);
        Self::decode(record, checksum).ok_or(RowError::Unusable)
    }

    /// Reads an encoded record with its CRC-32; `None` when it is not one.
    pub(crate) fn decode(record: Bytes, checksum: u32) -> Option<Self> {
        let mut reader = Reader::new(&record);
        let namespace = reader.text()?;
        let name = reader.text()?;
        let description = reader.text()?;
        let version = reader.text()?;
        let raw = reader.bytes()?;
        reader.at_end().then_some(())?;
        Some(Self {
            record,
            checksum,
            namespace,
            name,
            description,
            version,
            raw,
        })
    }

    pub(crate) fn record(&self) -> &Bytes {
        &self.record
    }

    /// CRC-32 of the record.
    pub(crate) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Namespace, such as `io.github.someone`.
    pub fn namespace(&self) -> &str {
        self.namespace.text(&self.record)
    }

    /// Name within the namespace.
    pub fn name(&self) -> &str {
        self.name.text(&self.record)
    }

    /// Description; empty when there is none.
    pub fn description(&self) -> &str {
        self.description.text(&self.record)
    }

    /// Version; empty when there is none.
    pub fn version(&self) -> &str {
        self.version.text(&self.record)
    }

    /// The original JSON, white space aside.
    pub fn raw(&self) -> Bytes {
        self.raw.slice(&self.record)
    }

    pub(crate) fn key(&self) -> (&str, &str) {
        (self.namespace(), self.name())
    }
}

// === impl Extension ===

impl Extension {
    /// Both extensions.
    pub const ALL: [Self; 2] = [Self::Skills, Self::Plugins];

    /// The member that holds the items in documents and answers, and the last part of the
    /// extension's path.
    pub fn member(self) -> &'static str {
        match self {
            Self::Skills => "skills",
            Self::Plugins => "plugins",
        }
    }
}
