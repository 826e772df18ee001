//! Every limit of this crate, once, with the reason for its value.

use std::time::Duration;

/// The largest request body that is read, in bytes. Exactly this much is still taken.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How much of a body that is too large is read and thrown away before the answer goes out:
/// closing a connection while the client still sends makes its system drop our answer.
pub const MAX_DRAINED_BYTES: usize = 8 * 1024 * 1024;

/// How long that throwing away may take.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The time a client has for sending a whole request body.
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// The time a client has for sending a request's head, from its first byte on; on a new
/// connection from the start.
pub const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long a connection may be quiet between two requests. Clients that pool connections keep
/// them for a few seconds to a minute and must not race with our close.
pub const IDLE_TIME: Duration = Duration::from_mins(2);

/// The time an answer may take to begin. A login, which waits for a person, has its own deadline
/// instead: [`thv_auth::login::LOGIN_TIME`].
pub const ROUTE_TIME: Duration = Duration::from_mins(1);

/// The same for a refresh, which walks a whole catalog: a thousand pages of a registry that takes
/// half a second for each.
pub const REFRESH_TIME: Duration = Duration::from_mins(10);

/// The longest that a client can ask to wait for a change of a login: shorter than [`ROUTE_TIME`], and than the time after
/// which proxies give up.
pub const MAX_WAIT: Duration = Duration::from_secs(50);

/// How many clients may wait for logins at a time, by polling or on a stream. Each costs a connection and a small task.
///
/// The cap is one for all: clients on loopback and on the socket are the programs of one user, and nothing that they send tells one from
/// the other that could not be sent differently. Who has no place is told at once and can poll without waiting, so that none is shut out;
/// those who follow all changes take places of their own.
pub const MAX_WAITING: usize = 32;

/// How many clients may follow all changes at a time. They have places of their own: a client that opens one stream after the
/// other takes none from those who wait for a login.
pub const MAX_FOLLOWING: usize = 32;

/// How long the answer to a question that others were asked for is given again: long enough that clients which poll cost one
/// question, and short enough that a person who tries again sees what is now.
pub const ANSWER_TIME: Duration = Duration::from_secs(2);

/// How often a stream on which nothing happens says that it is there; proxies drop connections that are quiet for a minute.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often a stream of changes looks for one: half of the second within which a change has to show.
pub const CHANGES_POLL: Duration = Duration::from_millis(500);

/// How long a client waits before it comes back to a stream that broke off.
pub const RECONNECT_TIME: Duration = Duration::from_secs(2);

/// How long after a login of the desktop client failed a logout from there counts as its reflex.
/// In between it reads the registries once, which takes no longer than [`OVERVIEW_PATIENCE`].
pub const REFLEX_TIME: Duration = Duration::from_secs(10);

/// How many failed logins are remembered for that. A person makes one or two in the time.
pub const MAX_FAILED_LOGINS: usize = 8;

/// The pause after the system refused a new connection, most likely for lack of descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long `GET /api/v1beta/registry` waits for a first catalog: the desktop client asks it on
/// every navigation and shows nothing until the answer is there.
pub const OVERVIEW_PATIENCE: Duration = Duration::from_secs(2);

/// How long every other read waits for a first catalog.
pub const CATALOG_PATIENCE: Duration = Duration::from_secs(10);

/// Answers smaller than this are never compressed: the saving would not fill one packet.
pub const MIN_COMPRESSED_BYTES: usize = 1024;

/// Rows of a ToolHive-shaped page when `limit` is absent or no positive number.
pub const TOOLHIVE_PAGE: u64 = 50;

/// The most rows of a ToolHive-shaped page.
pub const TOOLHIVE_PAGE_MAX: u64 = 200;

/// Rows of a page of the standard API when `limit` is absent.
pub const STANDARD_PAGE: usize = 30;

/// The most rows of a page of the standard API.
pub const STANDARD_PAGE_MAX: usize = 100;

/// The time another server has to answer a health probe.
pub const PROBE_TIME: Duration = Duration::from_secs(5);

/// How long a start waits for a predecessor that is on its way out.
pub const PREDECESSOR_TIME: Duration = Duration::from_secs(2);

/// The pause between two looks at a predecessor.
pub const PREDECESSOR_PAUSE: Duration = Duration::from_millis(100);

/// How long the lock of the discovery record is waited for.
pub const RECORD_LOCK_TIME: Duration = Duration::from_secs(5);

/// The largest discovery record that is read, in bytes; a real one has about 200.
pub const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// The longest head of a health answer that is read, in bytes.
pub const MAX_PROBE_HEAD_BYTES: usize = 16 * 1024;
