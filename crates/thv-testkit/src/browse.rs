//! The user's browser, without a browser: it follows redirects, keeps cookies, and fills in the plain forms of the npm
//! provider. Scripts are not run; [`crate::chromium`] is for pages that need them.

use std::collections::BTreeMap;

use http::Method;
use url::Url;

use crate::client::{Address, Answer, Call};

/// More hops than any honest login needs.
const HOPS: usize = 20;

/// One user's browser. Another user needs another one, because sessions are cookies.
#[derive(Debug)]
pub struct Browser {
    /// Who signs in where a form asks.
    pub user: String,
    cookies: BTreeMap<(String, String), String>,
}

/// Where a browser ended up.
#[derive(Debug)]
pub struct Visit {
    /// Every URL that was asked for, in order.
    pub trail: Vec<String>,
    /// The answer of the last one.
    pub answer: Answer,
}

impl Visit {
    /// The last URL.
    pub fn url(&self) -> &str {
        self.trail.last().map_or("", String::as_str)
    }

    /// A decoded query parameter of the last URL.
    pub fn param(&self, name: &str) -> Option<String> {
        Url::parse(self.url())
            .ok()?
            .query_pairs()
            .find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    }
}

impl Default for Browser {
    fn default() -> Self {
        Browser {
            user: "alice".to_owned(),
            cookies: BTreeMap::new(),
        }
    }
}

impl Browser {
    /// Opens a URL and goes on until an answer is neither a redirect nor a login form.
    ///
    /// # Panics
    /// When something on the way does not answer.
    pub async fn open(&mut self, url: &str) -> Visit {
        self.go(url, None)
            .await
            .unwrap_or_else(|cause| panic!("{cause}"))
    }

    /// Like [`Browser::open`], but stops in front of the first redirect to `prefix` and gives its whole URL: the
    /// callback that nobody has been told about yet.
    ///
    /// # Panics
    /// When no redirect leads there.
    pub async fn open_until(&mut self, url: &str, prefix: &str) -> String {
        match self.go(url, Some(prefix)).await {
            Ok(visit) if visit.url().starts_with(prefix) => visit.url().to_owned(),
            Ok(visit) => panic!("no redirect to {prefix}: {visit:?}"),
            Err(cause) => panic!("{cause}"),
        }
    }

    /// Like [`Browser::open`]; an error is a server that does not answer.
    pub async fn try_open(&mut self, url: &str) -> Result<Visit, String> {
        self.go(url, None).await
    }

    async fn go(&mut self, url: &str, stop: Option<&str>) -> Result<Visit, String> {
        let mut url = Url::parse(url).map_err(|cause| format!("{url}: {cause}"))?;
        let mut form: Option<String> = None;
        let mut trail = Vec::new();
        for _ in 0..HOPS {
            trail.push(url.to_string());
            let answer = self.ask(&url, form.take()).await?;
            let next = match answer.status {
                301 | 302 | 303 | 307 | 308 => Some((answer.header("location").to_owned(), None)),
                200 => self.filled_form(&answer),
                _ => None,
            };
            let Some((target, body)) = next else {
                return Ok(Visit { trail, answer });
            };
            form = body;
            url = url
                .join(&target)
                .map_err(|cause| format!("{target}: {cause}"))?;
            if stop.is_some_and(|prefix| url.as_str().starts_with(prefix)) {
                trail.push(url.to_string());
                return Ok(Visit { trail, answer });
            }
        }
        Err(format!("redirects without end: {trail:?}"))
    }

    async fn ask(&mut self, url: &Url, form: Option<String>) -> Result<Answer, String> {
        let host = url.authority().to_owned();
        let (address, path) = Address::of_url(url.as_str())
            .ok_or_else(|| format!("{url} is not on loopback: a test's browser stays there"))?;
        let mut call = match form {
            Some(form) => Call::new(Method::POST, &path)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form),
            None => Call::get(&path),
        };
        call = call.header("host", &host);
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .filter(|((owner, _), _)| *owner == host)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            call = call.header("cookie", &cookies.join("; "));
        }
        let answer = call
            .attempt(&address)
            .await
            .map_err(|cause| format!("{url}: {cause}"))?;
        for cookie in answer.headers.get_all("set-cookie") {
            let text = String::from_utf8_lossy(cookie.as_bytes()).into_owned();
            let pair = text.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies
                    .insert((host.clone(), name.to_owned()), value.to_owned());
            }
        }
        Ok(answer)
    }

    /// The target and body of the npm provider's login or consent form, or of one of those for device codes, which are
    /// sent as they are.
    fn filled_form(&self, answer: &Answer) -> Option<(String, Option<String>)> {
        let page = answer.text();
        let form = &page[page.find("<form")?..];
        let action = form.split_once("action=\"")?.1.split_once('"')?.0;
        // Where a code is typed in, our user has none to type.
        if form.starts_with("<form id=\"op.deviceInputForm\"") {
            return None;
        }
        if form.contains("name=\"xsrf\"") {
            return Some((action.to_owned(), Some(hidden_fields(form))));
        }
        let prompt = form
            .split_once("name=\"prompt\" value=\"")?
            .1
            .split_once('"')?
            .0;
        let body = match prompt {
            "login" => format!("prompt=login&login={}&password=secret-password", self.user),
            other => format!("prompt={other}"),
        };
        Some((action.to_owned(), Some(body)))
    }
}

/// The hidden fields of a form, as they are sent.
fn hidden_fields(form: &str) -> String {
    let form = form.split("</form>").next().unwrap_or_default();
    let mut fields = url::form_urlencoded::Serializer::new(String::new());
    for input in form.split("type=\"hidden\"").skip(1) {
        let value = |name: &str| {
            let (_, rest) = input.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0)
        };
        if let (Some(name), Some(value)) = (value("name"), value("value")) {
            fields.append_pair(name, value);
        }
    }
    fields.finish()
}

/// Opens an authorization URL in a new browser and follows it to the end, which is the callback's page when all goes
/// well.
///
/// # Panics
/// When something on the way does not answer.
pub async fn browse(authorization_url: &str) -> Visit {
    Browser::default().open(authorization_url).await
}
