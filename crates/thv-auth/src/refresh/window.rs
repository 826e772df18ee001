//! Whether a grant has to be renewed, and how long to wait after a failure. Pure: no clock, no store.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::credentials::LoginReason;
use crate::grant::Grant;
use crate::limits::{HARD_WINDOW, JITTER_PERCENT, RETRY_FIRST, RETRY_LONGEST, SOFT_WINDOW};

/// What a grant needs at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: the access token is good for a while.
    Nothing,
    /// A renewal behind the back of whoever uses the access token.
    Soon,
    /// A renewal that its user waits for.
    Now,
    /// A login.
    Login(LoginReason),
}

/// The stretches before the expiry of a token that lives for `lifetime`: in the first it is renewed in the background, in
/// the second, which lies within the first, its users wait. `jitter` (0 to 255) shortens the first by up to
/// [`JITTER_PERCENT`].
pub(crate) fn windows(lifetime: Duration, jitter: u8) -> (Duration, Duration) {
    let soft = SOFT_WINDOW.min(lifetime / 4);
    let hard = HARD_WINDOW.min(soft / 2);
    let shortened = soft * u32::from(JITTER_PERCENT) / 100 * u32::from(jitter) / 255;
    (soft.saturating_sub(shortened).max(hard), hard)
}

/// What `grant` needs at `now` by the provider's clock.
pub(crate) fn need(grant: &Grant, now: Timestamp, jitter: u8) -> Need {
    if let Some(death) = &grant.dead {
        return Need::Login(death.reason.login_reason());
    }
    let renewable = grant.refresh_token.is_some();
    let otherwise = |need| {
        if renewable {
            need
        } else {
            Need::Login(LoginReason::ExpiredNoRefresh)
        }
    };
    if grant.access_token.is_none() {
        return otherwise(Need::Now);
    }
    let (Some(expiry), Some(lifetime)) = (grant.expires_at, grant.lifetime()) else {
        return Need::Nothing;
    };
    let left = expiry.duration_since(now);
    let within =
        |window: Duration| left <= SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
    let (soft, hard) = windows(lifetime, jitter);
    if within(Duration::ZERO) {
        otherwise(Need::Now)
    } else if !renewable {
        Need::Nothing
    } else if within(hard) {
        Need::Now
    } else if within(soft) {
        Need::Soon
    } else {
        Need::Nothing
    }
}

/// When a renewal of `grant` is due, by the provider's clock; `None` where its token has no known end.
pub(crate) fn due(grant: &Grant, jitter: u8) -> Option<Timestamp> {
    let (soft, _) = windows(grant.lifetime()?, jitter);
    grant.expires_at?.checked_sub(soft).ok()
}

/// The pause after the `count`th failure in a row: doubling from [`RETRY_FIRST`] to [`RETRY_LONGEST`], lengthened by up to
/// [`JITTER_PERCENT`], and never shorter than what the provider asked for.
pub(crate) fn pause(count: u32, asked: Option<Duration>, jitter: u8) -> Duration {
    let doublings = count.saturating_sub(1).min(10);
    let pause = RETRY_FIRST
        .saturating_mul(1 << doublings)
        .min(RETRY_LONGEST);
    let lengthened = pause + pause * u32::from(JITTER_PERCENT) / 100 * u32::from(jitter) / 255;
    lengthened.max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::tests::grant;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_hour_long_token_is_renewed_in_its_last_quarter_and_waited_for_at_its_end() {
        let grant = grant("a", Some("r"), Some(3600));
        for (second, expected) in [
            (0, Need::Nothing),
            (2699, Need::Nothing),
            (2700, Need::Soon),
            (3479, Need::Soon),
            (3480, Need::Now),
            (9999, Need::Now),
        ] {
            assert_eq!(need(&grant, at(second), 0), expected, "{second}");
        }
        assert_eq!(need(&grant, at(2700), 255), Need::Nothing);
        assert_eq!(need(&grant, at(2880), 255), Need::Soon);
    }

    #[test]
    fn f14_a_fresh_token_is_never_inside_its_windows_however_short_it_lives() {
        for life in [1, 2, 5, 39, 40, 60, 239, 240, 241, 3600, 86_400] {
            for jitter in [0, 128, 255] {
                let grant = grant("a", Some("r"), Some(life));
                assert_eq!(need(&grant, at(0), jitter), Need::Nothing, "{life}");
                let end = i64::try_from(life).unwrap();
                assert_eq!(need(&grant, at(end), jitter), Need::Now, "{life}");
            }
        }
    }

    #[test]
    fn without_a_refresh_token_a_token_is_used_to_its_end_and_then_a_login_is_needed() {
        let grant = grant("a", None, Some(60));
        assert_eq!(need(&grant, at(59), 0), Need::Nothing);
        assert_eq!(
            need(&grant, at(60), 0),
            Need::Login(LoginReason::ExpiredNoRefresh)
        );
    }

    #[test]
    fn a_token_of_unknown_life_needs_nothing_and_a_grant_without_one_needs_it_now() {
        assert_eq!(
            need(&grant("a", Some("r"), None), Timestamp::MAX, 0),
            Need::Nothing
        );
        let mut taken_over = grant("a", Some("r"), None);
        taken_over.access_token = None;
        assert_eq!(need(&taken_over, at(0), 0), Need::Now);
    }

    #[test]
    fn pauses_double_from_a_minute_to_a_quarter_of_an_hour() {
        let minutes = |count| pause(count, None, 0).as_secs() / 60;
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 99].map(minutes),
            [1, 2, 4, 8, 15, 15, 15]
        );
        assert_eq!(
            pause(1, Some(Duration::from_mins(20)), 0),
            Duration::from_mins(20)
        );
        assert!(pause(1, Some(Duration::from_secs(1)), 255) >= RETRY_FIRST);
    }
}
