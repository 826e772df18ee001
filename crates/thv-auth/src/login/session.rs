//! One login's side of the browser: which requests are answered how, and which single one ends the wait.
//!
//! The state is consumed at most once, under a lock, and handed to the flow; every other request changes nothing. A granted
//! code is answered with a redirect to a clean address, whose page waits until the flow knows how the login ended. Sockets
//! belong to `loopback`, tokens to `flow`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method};
use http_body_util::Full;
use secrecy::SecretString;
use tokio::sync::{Notify, oneshot, watch};

use super::callback::{Refusal, Response, read};
use super::page::{PID_HEADER, Page, see_other};
use super::resource::NotTaken;
use crate::oauth::Attempt;

/// How many responses that do not belong to the login are told why. Those after them are a flood, which gets 429 and is not logged. None
/// is kept waiting: that would hold the connections which the right one needs.
const EXPLAINED: u64 = 1_000;

/// What the flow is told about the one response that counts.
#[derive(Debug)]
pub(super) enum Answer {
    /// The issuer granted this code.
    Granted(SecretString),
    /// The issuer refused.
    Refused(Refusal),
    /// A code came that is another issuer's.
    Foreign {
        /// What is wrong with the issuer.
        cause: String,
    },
}

/// The state between the listener and the flow.
#[derive(Debug)]
pub(super) struct Session {
    attempt: Attempt,
    /// Names the result page of a login whose answer arrives at a public address.
    mark: Option<String>,
    result_path: String,
    result_location: HeaderValue,
    /// Taken by the response that counts.
    answer: Mutex<Option<oneshot::Sender<Answer>>>,
    /// The page that says how it ended.
    ending: watch::Sender<Option<Page>>,
    shown: Notify,
    turned_away: AtomicU64,
}

impl Session {
    /// A session for the response to `attempt`, and where that will arrive. With a `mark` it arrives at a public address that
    /// several logins share.
    pub(super) fn new(
        attempt: Attempt,
        mark: Option<String>,
    ) -> Result<(Self, oneshot::Receiver<Answer>), http::header::InvalidHeaderValue> {
        let (sender, receiver) = oneshot::channel();
        let result = mark.as_deref().unwrap_or("result");
        let result_path = format!("{}/{result}", attempt.redirect_uri.path());
        let session = Self {
            attempt,
            mark,
            result_location: HeaderValue::from_str(&result_path)?,
            result_path,
            answer: Mutex::new(Some(sender)),
            ending: watch::Sender::new(None),
            shown: Notify::new(),
            turned_away: AtomicU64::new(0),
        };
        Ok((session, receiver))
    }

    /// What was asked of the identity provider.
    pub(super) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// Whether the answer arrives at a public address.
    pub(super) fn is_hosted(&self) -> bool {
        self.mark.is_some()
    }

    /// Whether `mark` names this login's result page, and there is one to come.
    pub(super) fn has_mark(&self, mark: &str) -> bool {
        self.mark.as_deref() == Some(mark) && self.is_used()
    }

    /// How many responses were turned away so far.
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Tells the waiting result page how the login ended.
    pub(super) fn finish(&self, page: Page) {
        self.ending.send_replace(Some(page));
    }

    /// Resolves once the result page has been handed to a browser.
    pub(super) async fn shown(&self) {
        self.shown.notified().await;
    }

    /// Answers one request.
    pub(super) async fn respond<B>(
        &self,
        request: &http::Request<B>,
    ) -> http::Response<Full<Bytes>> {
        let path = request.uri().path();
        let is_callback = path == self.attempt.redirect_uri.path();
        let is_result = path == self.result_path && self.is_used();
        if !is_callback && !is_result && path != "/" {
            return Page::NotFound.response();
        }
        if request.method() != Method::GET {
            return Page::MethodNotAllowed.response();
        }
        if is_callback {
            return self.receive(request.uri().query().unwrap_or_default());
        }
        if is_result {
            return self.result().await;
        }
        let mut response = Page::Waiting.response();
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok());
        // A name that leads here by a page's doing is to learn no more than that somebody waits.
        if host.is_some_and(is_this_machine) {
            let pid = HeaderValue::from(std::process::id());
            response.headers_mut().insert(PID_HEADER, pid);
        }
        response
    }

    /// Takes a redirect that arrived elsewhere, e.g. in the browser of another machine. It counts like one that arrives here.
    pub(super) fn hand_over(&self, redirect: &str) -> Result<(), NotTaken> {
        let query = self
            .attempt
            .redirect_uri
            .query_of(redirect)
            .ok_or(NotTaken::OtherAddress)?;
        let taken = match read(&self.attempt, &query) {
            Response::Forged => Err(NotTaken::OtherLogin),
            Response::Malformed => Err(NotTaken::Malformed),
            Response::ForeignError => Err(NotTaken::ForeignIssuer),
            Response::ForeignCode { cause } => {
                self.answer(Answer::Foreign { cause })?;
                self.finish(Page::ForeignIssuer);
                return Err(NotTaken::ForeignIssuer);
            }
            Response::Refused(refusal) => {
                self.answer(Answer::Refused(refusal))?;
                self.finish(Page::Refused);
                Ok(())
            }
            Response::Granted(code) => self.answer(Answer::Granted(code)),
        };
        match taken {
            // No browser waits for the last page.
            Ok(()) => self.shown.notify_one(),
            Err(_) => {
                self.turned_away.fetch_add(1, Ordering::Relaxed);
            }
        }
        taken
    }

    /// Lets no further answer count: the login was finished in another way.
    pub(super) fn close(&self) {
        self.lock().take();
    }

    fn answer(&self, answer: Answer) -> Result<(), NotTaken> {
        self.send(answer).then_some(()).ok_or(NotTaken::Used)
    }

    /// Answers a request to the redirect URI.
    pub(super) fn receive(&self, query: &str) -> http::Response<Full<Bytes>> {
        match read(&self.attempt, query) {
            Response::Forged => self.turn_away(Page::Forged),
            Response::Malformed => self.turn_away(Page::Malformed),
            Response::ForeignError => self.turn_away(Page::ForeignIssuer),
            Response::ForeignCode { cause } => {
                self.consume(Answer::Foreign { cause }, Page::ForeignIssuer)
            }
            Response::Refused(refusal) => self.consume(Answer::Refused(refusal), Page::Refused),
            Response::Granted(code) => {
                if self.send(Answer::Granted(code)) {
                    see_other(&self.result_location)
                } else {
                    Page::Used.response()
                }
            }
        }
    }

    /// Ends the wait with an answer that needs no further work.
    fn consume(&self, answer: Answer, page: Page) -> http::Response<Full<Bytes>> {
        if !self.send(answer) {
            return Page::Used.response();
        }
        self.finish(page);
        page.response()
    }

    fn turn_away(&self, page: Page) -> http::Response<Full<Bytes>> {
        let count = self.turned_away.fetch_add(1, Ordering::Relaxed) + 1;
        if count > EXPLAINED {
            return Page::TooMany.response();
        }
        tracing::debug!(count, ?page, "a login callback was turned away");
        page.response()
    }

    /// The page that says how the login ended, once that is known.
    pub(super) async fn result(&self) -> http::Response<Full<Bytes>> {
        let mut ending = self.ending.subscribe();
        // The sender lives in `self`, so the wait cannot fail; `Failed` is what a lost flow would mean.
        let page = match ending.wait_for(Option::is_some).await {
            Ok(page) => page.unwrap_or(Page::Failed),
            Err(_) => Page::Failed,
        };
        self.shown.notify_one();
        page.response()
    }

    fn send(&self, answer: Answer) -> bool {
        let sender = self.lock().take();
        match sender {
            // A flow that no longer listens has ended; its sockets are closing.
            Some(sender) => sender.send(answer).is_ok(),
            None => false,
        }
    }

    fn is_used(&self) -> bool {
        self.lock().is_none()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<oneshot::Sender<Answer>>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a `Host` names this machine, as a browser here was told.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::super::callback::tests::attempt;
    use super::*;

    const OURS: &str = "/callback?code=abc&state=right";

    fn session() -> (Session, oneshot::Receiver<Answer>) {
        Session::new(attempt("right", false), None).expect("a path")
    }

    fn ask(session: &Session, method: &str, target: &str) -> http::Response<Full<Bytes>> {
        let request = http::Request::builder()
            .method(method)
            .uri(target)
            .body(())
            .expect("a request");
        session
            .respond(&request)
            .now_or_never()
            .expect("an answer at once")
    }

    fn status(session: &Session, target: &str) -> u16 {
        ask(session, "GET", target).status().as_u16()
    }

    #[test]
    fn only_exact_paths_are_answered() {
        let (session, _receiver) = session();
        for target in [
            "/callback/",
            "/callback2?code=abc&state=right",
            "/Callback?code=abc&state=right",
            "//callback?code=abc&state=right",
            "/x/../callback?code=abc&state=right",
            "/%63allback?code=abc&state=right",
            "/callback/result",
            "/favicon.ico",
        ] {
            assert_eq!(status(&session, target), 404, "{target}");
        }
        assert_eq!(status(&session, "/"), 200);
        assert_eq!(session.turned_away(), 0);
        assert_eq!(status(&session, OURS), 303);
    }

    #[test]
    fn only_get_is_answered() {
        let (session, _receiver) = session();
        for method in ["HEAD", "POST", "PUT", "OPTIONS", "DELETE", "get"] {
            let answer = ask(&session, method, OURS);
            assert_eq!(answer.status(), 405, "{method}");
            assert_eq!(answer.headers()["allow"], "GET", "{method}");
            assert_eq!(ask(&session, method, "/").status(), 405, "{method}");
        }
        assert_eq!(status(&session, OURS), 303);
    }

    #[test]
    fn a_response_counts_once() {
        let (session, mut receiver) = session();
        assert_eq!(status(&session, OURS), 303);
        assert_eq!(status(&session, OURS), 410);
        assert_eq!(
            status(&session, "/callback?error=access_denied&state=right"),
            410
        );
        assert_eq!(status(&session, "/callback?code=abc&state=wrong"), 400);
        assert!(matches!(receiver.try_recv(), Ok(Answer::Granted(_))));
    }

    #[test]
    fn what_is_turned_away_leaves_the_session_as_it_was() {
        let (session, mut receiver) = session();
        for target in [
            "/callback",
            "/callback?error=access_denied",
            "/callback?error=access_denied&state=wrong",
            "/callback?state=right",
            "/callback?error=access_denied&state=right&iss=https%3A%2F%2Fevil.example",
        ] {
            assert_eq!(status(&session, target), 400, "{target}");
        }
        assert_eq!(session.turned_away(), 5);
        assert!(receiver.try_recv().is_err());
        assert_eq!(status(&session, OURS), 303);
    }

    #[test]
    fn a_refusal_ends_the_wait_at_once() {
        let (session, mut receiver) = session();
        let target = "/callback?error=access_denied&state=right";
        assert_eq!(status(&session, target), 400);
        assert!(matches!(receiver.try_recv(), Ok(Answer::Refused(_))));
        assert_eq!(status(&session, "/callback/result"), 400);
    }

    #[test]
    fn a_code_of_another_issuer_is_not_used() {
        let (session, mut receiver) = session();
        let target = format!("{OURS}&iss=https%3A%2F%2Fevil.example");
        assert_eq!(status(&session, &target), 400);
        assert!(matches!(receiver.try_recv(), Ok(Answer::Foreign { .. })));
        assert_eq!(status(&session, OURS), 410);
    }

    #[test]
    fn a_redirect_that_is_handed_over_counts_like_one_that_arrives() {
        let (session, mut receiver) = session();
        for (redirect, why) in [
            ("", NotTaken::OtherAddress),
            ("code=abc&state=right", NotTaken::OtherAddress),
            (
                "https://localhost:8666/callback?code=abc&state=right",
                NotTaken::OtherAddress,
            ),
            (
                "http://localhost:8667/callback?code=abc&state=right",
                NotTaken::OtherAddress,
            ),
            (
                "http://localhost:8666/callback/?code=abc&state=right",
                NotTaken::OtherAddress,
            ),
            (
                "http://u@localhost:8666/callback?code=abc&state=right",
                NotTaken::OtherAddress,
            ),
            (
                "http://evil.example:8666/callback?code=abc&state=right",
                NotTaken::OtherAddress,
            ),
            ("http://localhost:8666/callback", NotTaken::OtherLogin),
            (
                "http://localhost:8666/callback?code=abc&state=wrong",
                NotTaken::OtherLogin,
            ),
            (
                "http://localhost:8666/callback?state=right",
                NotTaken::Malformed,
            ),
            (
                "http://localhost:8666/callback?error=access_denied&state=right&iss=https%3A%2F%2Fevil.example",
                NotTaken::ForeignIssuer,
            ),
        ] {
            assert_eq!(session.hand_over(redirect), Err(why), "{redirect}");
        }
        assert!(receiver.try_recv().is_err(), "the login still waits");
        let ours = "  http://localhost:8666/callback?code=abc&state=right#_=_\n";
        assert_eq!(session.hand_over(ours), Ok(()));
        assert!(matches!(receiver.try_recv(), Ok(Answer::Granted(_))));
        assert_eq!(session.hand_over(ours), Err(NotTaken::Used));
        assert_eq!(status(&session, OURS), 410);
    }

    #[test]
    fn a_foreign_code_that_is_handed_over_ends_the_wait() {
        let (session, mut receiver) = session();
        let foreign = format!("http://localhost:8666{OURS}&iss=https%3A%2F%2Fevil.example");
        assert_eq!(session.hand_over(&foreign), Err(NotTaken::ForeignIssuer));
        assert!(matches!(receiver.try_recv(), Ok(Answer::Foreign { .. })));
        assert_eq!(session.hand_over(&foreign), Err(NotTaken::Used));
    }

    #[test]
    fn after_another_way_has_won_no_answer_counts() {
        let (session, mut receiver) = session();
        session.close();
        assert_eq!(status(&session, OURS), 410);
        assert!(receiver.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_result_page_waits_for_the_end_and_says_which_it_was() {
        let (session, _receiver) = session();
        let answer = ask(&session, "GET", OURS);
        assert_eq!(answer.headers()["location"], "/callback/result");
        let request = http::Request::get("/callback/result")
            .body(())
            .expect("a request");
        let mut page = std::pin::pin!(session.respond(&request));
        assert!(page.as_mut().now_or_never().is_none());
        session.finish(Page::Stored);
        assert_eq!(page.await.status(), 200);
        session.shown().await;
    }
}
