//! A fetched token and its end, and what it needs at one moment. Pure: no clock, no network.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use crate::refresh::windows;

/// The token of now.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) token: SecretString,
    pub(super) scopes: Vec<String>,
    pub(super) expiry: Option<Expiry>,
}

/// The end of a token on both clocks. The monotonic one may stand still while the machine sleeps, and the wall clock may be set
/// back: whichever comes first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    pub(super) lifetime: Duration,
    pub(super) at: Duration,
    pub(super) wall: Timestamp,
}

/// What a token needs at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// A fetch behind the back of whoever uses the token.
    Soon,
    /// A fetch that its user waits for; the token is good still.
    Now,
    /// The same, and there is no token that is good.
    Fresh,
}

impl Live {
    pub(super) fn need(&self, monotonic: Duration, now: Timestamp, jitter: u8) -> Need {
        let Some(expiry) = self.expiry else {
            return Need::Nothing;
        };
        let by_wall = Duration::try_from(expiry.wall.duration_since(now)).unwrap_or_default();
        let left = expiry.at.saturating_sub(monotonic).min(by_wall);
        let (soft, hard) = windows(expiry.lifetime, jitter);
        if left.is_zero() {
            Need::Fresh
        } else if left <= hard {
            Need::Now
        } else if left <= soft {
            Need::Soon
        } else {
            Need::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_earlier_end_of_two_clocks_counts() {
        let start = Timestamp::from_second(1_000_000).expect("a time");
        let lifetime = SECOND * 3600;
        let live = |expiry| Live {
            token: "token".to_owned().into(),
            scopes: Vec::new(),
            expiry,
        };
        let hour = live(Some(Expiry {
            lifetime,
            at: lifetime,
            wall: start.checked_add(lifetime).expect("a time"),
        }));
        for (monotonic, wall, expected) in [
            (0, 0, Need::Nothing),
            (3600 - 901, 3600 - 901, Need::Nothing),
            (3600 - 899, 3600 - 899, Need::Soon),
            (3600 - 119, 3600 - 119, Need::Now),
            (3600, 3600, Need::Fresh),
            // The machine slept, and the monotonic clock with it.
            (10, 3600, Need::Fresh),
            // Somebody set the clock back, or ahead.
            (3600, -86_400, Need::Fresh),
            (10, 86_400, Need::Fresh),
        ] {
            let now = start
                .checked_add(jiff::SignedDuration::from_secs(wall))
                .expect("a time");
            let need = hour.need(SECOND * monotonic, now, 0);
            assert_eq!(need, expected, "{monotonic} {wall}");
        }
        assert_eq!(live(None).need(SECOND * 1_000_000, start, 0), Need::Nothing);
    }
}
