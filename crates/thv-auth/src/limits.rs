//! Every bound of grants and their renewal, each with the reason for its value.

use std::time::Duration;

/// Longest stretch before expiry in which a token is renewed in the background; shorter tokens get a quarter of their life.
pub const SOFT_WINDOW: Duration = Duration::from_mins(15);

/// Longest stretch before expiry in which callers wait for the renewal: what a slow page walk through a registry may take.
/// Shorter tokens get half of their soft window, so that a fresh token is never inside it.
pub const HARD_WINDOW: Duration = Duration::from_mins(2);

/// How much of the soft window chance may take away, in percent, so that processes do not all renew in the same second.
pub const JITTER_PERCENT: u8 = 20;

/// What one renewal may spend on the network, discovery included. It is independent of whoever waits for it.
pub const FLIGHT_DEADLINE: Duration = Duration::from_secs(30);

/// How long a renewal waits for one in another process: a little longer than that one may take.
pub const LOCK_WAIT: Duration = Duration::from_secs(35);

/// Shortest pause after a provider failed to renew a token.
pub const RETRY_FIRST: Duration = Duration::from_mins(1);

/// Longest pause after repeated failures. A provider that is back is noticed within this time.
pub const RETRY_LONGEST: Duration = Duration::from_mins(15);

/// Pause after a renewal that failed before the provider was asked: a lock or the store was in the way.
pub const RETRY_STORE: Duration = Duration::from_secs(5);

/// Least time between two renewals that a registry's 401 forces, where the token of the first is refused again.
pub const FORCED_FLOOR: Duration = Duration::from_mins(5);

/// The same between processes, which know of each other's by the stored grant. Commands are short: without it, each would spend a refresh
/// token on a registry that takes nothing, and with the longer one a person who has mended it would wait.
pub const FORCED_FLOOR_ACROSS: Duration = Duration::from_mins(1);

/// How often the answer of the provider is written before it is only held in memory.
pub const PERSIST_TRIES: u32 = 5;

/// Pause between two of these tries.
pub const PERSIST_PAUSE: Duration = Duration::from_millis(200);

/// How old a view of the store may be. Half of the second within which a change by another process must show.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What giving back the tokens of a logout may take in all. A person waits for it.
pub const REVOCATION_DEADLINE: Duration = Duration::from_secs(10);

/// How long a logout waits for the address that ends the browser's session, where the provider did not answer before.
pub const END_SESSION_WAIT: Duration = Duration::from_secs(1);

/// How many tokens that could not be given back are kept for another try.
pub const UNREVOKED_MAX: usize = 16;

/// Pause before a token is given back again that the provider did not take for want of an answer; it doubles each time.
pub const GIVE_BACK_FIRST: Duration = Duration::from_mins(1);

/// Longest such pause.
pub const GIVE_BACK_LONGEST: Duration = Duration::from_hours(12);

/// How often a token is tried to be given back, the logout included: with these pauses that takes about three days.
pub const GIVE_BACK_TRIES: u32 = 16;

/// How long a token is kept to be given back: tokens of most providers are void by themselves by then, and a secret that nobody
/// needs is only a risk.
pub const GIVE_BACK_DAYS: Duration = Duration::from_hours(7 * 24);

/// How often a server looks for tokens to give back.
pub const GIVE_BACK_INTERVAL: Duration = Duration::from_mins(1);

/// Largest difference between a server's clock and ours that is believed: two days cover a wrong date line and a dead
/// battery that somebody half corrected; more is a broken header.
pub const SKEW_MAX: Duration = Duration::from_hours(48);

/// How many of the last observations of a server's clock count.
pub const SKEW_SAMPLES: usize = 5;

/// Most scopes that a login asks for after a registry has asked for more: a registry that names new ones without end is not
/// followed without end.
pub const STEP_UP_SCOPES_MAX: usize = 32;

/// How often a registry is asked whether it still names the issuer of the login. It costs one small request without a token.
pub const PIN_INTERVAL: Duration = Duration::from_mins(15);

/// How long a provider's endpoints are remembered.
pub const DISCOVERY_TTL: Duration = Duration::from_hours(1);

/// How long getting ready for a login may take, the wait for another one that gets ready included: a client that is looked after
/// or registered costs a few requests. Shorter than the time in which the API's answers begin.
pub const PREPARE_TIME: Duration = Duration::from_secs(30);

/// How many logins that clients start may go unanswered within [`PROMPT_TIME`]: whoever is there has answered one of three.
pub const PROMPTS_UNANSWERED: usize = 3;

/// The same for the desktop client, where a person has pressed a button for each: somebody who tries one setting after the other
/// makes no more than one in a minute.
pub const DESKTOP_PROMPTS_UNANSWERED: usize = 10;

/// How long a login that nobody has answered counts.
pub const PROMPT_TIME: Duration = Duration::from_mins(10);

/// How long programs start no more logins after the last of those, when no person acts: three prompts an hour disturb nobody much, and
/// one whose only client is neither a terminal nor the desktop client is not locked out for long.
pub const SPENT_TIME: Duration = Duration::from_hours(1);

/// Longest secret value that is read from a file or kept: as the longest token that a provider may give, which servers hardly take.
pub const SECRET_MAX_BYTES: u64 = 64 * 1024;

/// What a credential command may take. It is asked while readers of the registry may wait, as with a renewal.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

/// Most bytes that a credential command may print: a token of the largest size and what surrounds it.
pub const COMMAND_MAX_BYTES: u64 = 128 * 1024;

/// How long an assertion by which a client proves itself is good (RFC 7523 section 3): it is used at once, and once.
pub const ASSERTION_LIFETIME: Duration = Duration::from_mins(1);
