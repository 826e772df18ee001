//! The person's browser. Only a login is ever given it.

use thv_auth::opener::Opener;
use url::Url;

/// Opens URLs in the default browser.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Browser;

impl Opener for Browser {
    fn open(&self, url: &Url) -> Result<(), String> {
        webbrowser::open(url.as_str()).map_err(|error| error.to_string())
    }
}
