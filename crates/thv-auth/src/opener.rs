//! What shows a URL to the person at this machine.
//!
//! Only the login itself is ever given an opener, so that nothing else can put a window on the screen. The real ones live
//! with the program; here is only what they promise.

use std::fmt::Debug;

use url::Url;

/// Opens URLs for a person, usually in the default browser.
pub trait Opener: Debug + Send + Sync + 'static {
    /// Opens `url` and does not wait for the window to close. May block while a program is started, so it is never called on
    /// an async thread. The error is a clause for people that says what could not be done.
    fn open(&self, url: &Url) -> Result<(), String>;
}
