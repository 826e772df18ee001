//! What the browser is shown: fixed pages with fixed headers.
//!
//! No page says anything that came with the request, so that nothing can be reflected; none loads or runs anything, none
//! may be framed, and none tells other sites where it was opened from. Which page is due is decided in `session`.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION,
    REFERRER_POLICY, SERVER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// How our listener calls itself, so that another login can tell whom it finds on its port.
pub(super) const SERVER_NAME: &str = "thv-login";

/// In which header it says which process it is, to whoever looks at `/`.
pub(super) const PID_HEADER: HeaderName = HeaderName::from_static("x-thv-pid");

/// On every answer, redirects included.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (SERVER, SERVER_NAME),
];

macro_rules! page {
    ($title:literal, $text:literal) => {
        concat!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>",
            $title,
            "</title>\n<h1>",
            $title,
            "</h1>\n<p>",
            $text,
            "</p>\n</html>\n"
        )
    };
}

/// The pages there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// Somebody looked at `/`.
    Waiting,
    /// No such path.
    NotFound,
    /// Only GET is answered.
    MethodNotAllowed,
    /// The response belongs to no login of ours.
    Forged,
    /// So many responses belonged to no login of ours that no more are explained.
    TooMany,
    /// The response is ours, but is none that can be read.
    Malformed,
    /// The response is from another identity provider.
    ForeignIssuer,
    /// The identity provider refused.
    Refused,
    /// The response was used before.
    Used,
    /// The grant is stored.
    Stored,
    /// Somebody else has logged in than before, which nobody said is meant.
    OtherAccount,
    /// There was a code, and no grant came of it.
    Failed,
}

impl Page {
    fn status(self) -> StatusCode {
        match self {
            Self::Waiting | Self::Stored => StatusCode::OK,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Used => StatusCode::GONE,
            Self::Forged
            | Self::Malformed
            | Self::ForeignIssuer
            | Self::Refused
            | Self::OtherAccount
            | Self::Failed => StatusCode::BAD_REQUEST,
        }
    }

    fn html(self) -> &'static str {
        match self {
            Self::Waiting => page!(
                "Waiting for a login",
                "thv is waiting here for your identity provider's answer. Go on in the window where you log in."
            ),
            Self::NotFound => page!("Not found", "There is nothing here."),
            Self::MethodNotAllowed => page!("Not possible", "Only GET is answered here."),
            Self::Forged => page!(
                "Not the answer to this login",
                "This page was opened with an answer that the waiting login did not ask for. Nothing was changed, and the login still waits."
            ),
            Self::TooMany => page!(
                "Too many answers",
                "Too many answers came that do not belong to this login. It still waits for the right one."
            ),
            Self::Malformed => page!(
                "Unreadable answer",
                "The identity provider's answer is incomplete or contradicts itself, so it was not used. Try the login again."
            ),
            Self::ForeignIssuer => page!(
                "Answer from another identity provider",
                "This answer does not come from the identity provider that was asked, so it was not used."
            ),
            Self::Refused => page!(
                "Login refused",
                "The identity provider refused the login. thv says why where you started it. You can close this window."
            ),
            Self::OtherAccount => page!(
                "Another account",
                "This browser is logged in at the identity provider as another account than thv was before, so nothing was changed. thv says what to do where you started the login. You can close this window."
            ),
            Self::Used => page!(
                "Already used",
                "This answer was used before and does not work again. You can close this window."
            ),
            Self::Stored => page!(
                "You are logged in",
                "The login is stored. You can close this window and go back to where you started."
            ),
            Self::Failed => page!(
                "Login failed",
                "The identity provider answered, but the login could not be finished. thv says why where you started it. You can close this window."
            ),
        }
    }

    /// The page as an answer.
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let mut response = with_headers(
            self.status(),
            Full::new(Bytes::from_static(self.html().as_bytes())),
        );
        if self == Self::MethodNotAllowed {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

/// Sends the browser on to `path` of the same listener, so that the code leaves the address bar and the history.
pub(super) fn see_other(path: &HeaderValue) -> Response<Full<Bytes>> {
    let mut response = with_headers(StatusCode::SEE_OTHER, Full::default());
    response.headers_mut().insert(LOCATION, path.clone());
    response
}

fn with_headers(status: StatusCode, body: Full<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Page; 12] = [
        Page::Waiting,
        Page::NotFound,
        Page::MethodNotAllowed,
        Page::Forged,
        Page::TooMany,
        Page::Malformed,
        Page::ForeignIssuer,
        Page::Refused,
        Page::Used,
        Page::Stored,
        Page::OtherAccount,
        Page::Failed,
    ];

    #[test]
    fn every_answer_is_inert() {
        let mut answers: Vec<_> = ALL.map(Page::response).into();
        answers.push(see_other(&HeaderValue::from_static("/x")));
        for answer in answers {
            let header = |name: &str| {
                answer.headers()[name]
                    .to_str()
                    .expect("printable")
                    .to_owned()
            };
            assert!(header("content-security-policy").starts_with("default-src 'none';"));
            assert_eq!(header("x-frame-options"), "DENY");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert_eq!(header("cache-control"), "no-store");
        }
    }

    #[test]
    fn pages_load_and_run_nothing() {
        for page in ALL {
            let html = page.html();
            for forbidden in ["<script", "<style", "<img", "<link", "<a ", "href", "src="] {
                assert!(!html.contains(forbidden), "{page:?} has {forbidden}");
            }
        }
    }

    #[test]
    fn only_a_stored_login_is_called_a_success() {
        for page in ALL {
            let says_so = page.html().contains("You are logged in");
            assert_eq!(says_so, page == Page::Stored, "{page:?}");
        }
    }
}
