//! Which requests go through the proxy that the environment names.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are read, each also in lower case, in the way curl and Go read
//! them. This machine itself is never reached through a proxy.

use std::fmt;

use hyper_util::client::proxy::matcher::Matcher;
use secrecy::{ExposeSecret as _, SecretString};
use thv_config::world::Env;
use url::Url;

use crate::error::HttpError;
use crate::policy::is_loopback_url;

/// The proxy settings of the environment, read once.
pub(crate) struct ProxyRules {
    http: Option<Result<SecretString, HttpError>>,
    https: Option<Result<SecretString, HttpError>>,
    /// Knows `NO_PROXY`: what it does not intercept goes straight.
    not_exempt: Matcher,
}

impl ProxyRules {
    pub(crate) fn from_env(env: &dyn Env) -> Self {
        // A program started by a web server over CGI has in `HTTP_PROXY` what a client put into its `Proxy` header
        // (CVE-2016-5385). No client can set the name in lower case, where names have a case.
        let is_cgi = env.var("REQUEST_METHOD").is_some();
        let setting = |upper: &'static str, lower: &str| {
            let is_clients = is_cgi && upper == "HTTP_PROXY";
            let value = env
                .var(upper)
                .filter(|value| !value.is_empty() && !is_clients)
                .or_else(|| env.var(lower).filter(|_| !is_clients || cfg!(unix)))?;
            (!value.is_empty()).then(|| parse(upper, &value))
        };
        let all = setting("ALL_PROXY", "all_proxy");
        let exempt = env
            .var("NO_PROXY")
            .or_else(|| env.var("no_proxy"))
            .unwrap_or_default();
        Self {
            http: setting("HTTP_PROXY", "http_proxy").or_else(|| all.clone()),
            https: setting("HTTPS_PROXY", "https_proxy").or(all),
            // The address is never used: only whether the matcher intercepts.
            not_exempt: Matcher::builder()
                .all("http://proxy.invalid")
                .no(exempt)
                .build(),
        }
    }

    /// Whether `url` goes through a proxy. Settings that cannot be used are an error rather than a way around the proxy.
    pub(crate) fn applies_to(&self, url: &Url) -> Result<bool, HttpError> {
        let setting = if url.scheme() == "https" {
            &self.https
        } else {
            &self.http
        };
        let Some(setting) = setting else {
            return Ok(false);
        };
        if is_loopback_url(url) {
            return Ok(false);
        }
        let intercepted = url
            .as_str()
            .parse::<http::Uri>()
            .is_ok_and(|uri| self.not_exempt.intercept(&uri).is_some());
        match setting {
            Ok(_) => Ok(intercepted),
            Err(unusable) if intercepted => Err(unusable.clone()),
            Err(_) => Ok(false),
        }
    }

    /// What a failed connection to `url` means when it was to go through a proxy: nothing but the proxy was tried, and no
    /// name was looked up but the proxy's.
    pub(crate) fn explain(&self, url: &Url, error: HttpError) -> HttpError {
        let (host, cause) = match error {
            HttpError::Connect { host, cause } | HttpError::Dns { host, cause } => (host, cause),
            other => return other,
        };
        let proxy = if url.scheme() == "https" {
            self.https()
        } else {
            self.http()
        };
        // The words of the client library for an answer to CONNECT.
        let cause = match cause.strip_prefix("tunnel error: ") {
            Some("unsuccessful") => "it refused to connect to there",
            Some("proxy authorization required") => {
                "it wants to be asked with a user name and a password"
            }
            _ => &cause,
        };
        HttpError::Connect {
            host,
            cause: format!(
                "the proxy {} gave none: {cause} (HTTPS_PROXY, HTTP_PROXY and ALL_PROXY name proxies, NO_PROXY the hosts that need none)",
                proxy.map(shown).unwrap_or_default()
            ),
        }
    }

    /// The proxy for `http` URLs. Holds the proxy's password, if any.
    pub(crate) fn http(&self) -> Option<&SecretString> {
        self.http.as_ref().and_then(|setting| setting.as_ref().ok())
    }

    /// The proxy for `https` URLs. Holds the proxy's password, if any.
    pub(crate) fn https(&self) -> Option<&SecretString> {
        self.https
            .as_ref()
            .and_then(|setting| setting.as_ref().ok())
    }
}

impl fmt::Debug for ProxyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyRules")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .finish_non_exhaustive()
    }
}

/// Host and port: the rest may be secret.
fn shown(proxy: &SecretString) -> String {
    let Ok(url) = Url::parse(proxy.expose_secret()) else {
        return String::new();
    };
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn parse(variable: &'static str, value: &str) -> Result<SecretString, HttpError> {
    let unusable = |cause: &str| HttpError::Proxy {
        variable,
        cause: cause.to_owned(),
    };
    let with_scheme = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    let url = Url::parse(&with_scheme).map_err(|_| unusable("it is no URL"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(String::from(url).into()),
        "http" | "https" => Err(unusable("it has no host")),
        _ => Err(unusable("only http and https proxies are supported")),
    }
}

#[cfg(test)]
mod tests {
    use thv_config::world::MapEnv;

    use super::*;

    fn applies(env: &ProxyRules, text: &str) -> Result<bool, HttpError> {
        env.applies_to(&Url::parse(text).expect("url"))
    }

    #[test]
    fn the_environment_says_what_goes_through_a_proxy() {
        let rules = ProxyRules::from_env(&MapEnv::from([
            ("HTTPS_PROXY", "proxy.corp:3128"),
            ("no_proxy", "internal.corp, 10.0.0.0/8"),
        ]));
        for (url, proxied) in [
            ("https://registry.example/", true),
            ("http://registry.example/", false),
            ("https://internal.corp/", false),
            ("https://deep.internal.corp/", false),
            ("https://10.1.2.3/", false),
            ("https://11.1.2.3/", true),
            ("https://localhost:8443/", false),
            ("https://127.0.0.1:8443/", false),
            ("https://[::1]:8443/", false),
        ] {
            assert_eq!(applies(&rules, url), Ok(proxied), "{url}");
        }
    }

    #[test]
    fn all_proxy_fills_in_and_no_proxy_star_ends_it() {
        let rules = ProxyRules::from_env(&MapEnv::from([("all_proxy", "http://proxy.corp:3128")]));
        assert_eq!(applies(&rules, "https://a.example/"), Ok(true));
        assert_eq!(applies(&rules, "http://a.example/"), Ok(true));
        let none = ProxyRules::from_env(&MapEnv::from([
            ("ALL_PROXY", "http://proxy.corp:3128"),
            ("NO_PROXY", "*"),
        ]));
        assert_eq!(applies(&none, "https://a.example/"), Ok(false));
        let empty = ProxyRules::from_env(&MapEnv::from([("HTTPS_PROXY", "")]));
        assert_eq!(applies(&empty, "https://a.example/"), Ok(false));
    }

    #[test]
    fn case_62_addresses_that_only_look_exempt_go_through_the_proxy() {
        let rules = ProxyRules::from_env(&MapEnv::from([
            ("ALL_PROXY", "http://proxy.corp:3128"),
            (
                "NO_PROXY",
                "internal.corp,10.0.0.0/8,192.0.2.1,.dotted.corp, ,",
            ),
        ]));
        for (url, proxied) in [
            ("https://INTERNAL.corp/", false),
            ("https://internal.corp:8443/", false),
            ("https://a.dotted.corp/", false),
            ("https://10.255.255.255/", false),
            ("https://0xa.1/", false),
            ("https://internal.corp@evil.example/", true),
            ("https://internal.corp.evil.example/", true),
            ("https://evilinternal.corp/", true),
            ("https://evil.example/internal.corp", true),
            (
                "https://evil.example/?host=internal.corp#internal.corp",
                true,
            ),
            ("https://internal/", true),
            ("https://corp/", true),
            ("https://10.0.0.1.evil.example/", true),
            ("https://[::ffff:10.0.0.1]/", true),
            ("https://192.0.2.10/", true),
            ("https://127.0.0.1.evil.example/", true),
            ("https://localhost.evil.example/", true),
            ("https://notlocalhost/", true),
        ] {
            assert_eq!(applies(&rules, url), Ok(proxied), "{url}");
        }
    }

    #[test]
    fn case_62_a_proxy_that_a_client_of_a_web_server_names_is_none() {
        let variables = [
            ("REQUEST_METHOD", "GET"),
            ("HTTP_PROXY", "http://evil.example:3128"),
        ];
        let rules = ProxyRules::from_env(&MapEnv::from(variables));
        assert_eq!(applies(&rules, "http://a.example/"), Ok(false));
        let [method, theirs] = variables;
        let ours = ("http_proxy", "http://proxy.corp:3128");
        let rules = ProxyRules::from_env(&MapEnv::from([method, theirs, ours]));
        assert_eq!(applies(&rules, "http://a.example/"), Ok(true));
        assert_eq!(rules.http().map(shown).as_deref(), Some("proxy.corp:3128"));
    }

    #[test]
    fn an_unusable_proxy_is_an_error_and_never_bypassed() {
        let rules = ProxyRules::from_env(&MapEnv::from([(
            "HTTPS_PROXY",
            "socks5://me:hunter2@proxy.corp:1080",
        )]));
        let refusal = applies(&rules, "https://a.example/").expect_err("unusable");
        assert!(refusal.to_string().contains("HTTPS_PROXY"), "{refusal}");
        assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
        assert_eq!(applies(&rules, "https://localhost/"), Ok(false));
    }

    #[test]
    fn what_failed_at_the_proxy_is_not_blamed_on_the_host_behind_it() {
        let rules = ProxyRules::from_env(&MapEnv::from([(
            "HTTPS_PROXY",
            "http://me:hunter2@proxy.corp:3128",
        )]));
        let url = Url::parse("https://registry.example/").expect("url");
        let host = || "registry.example".to_owned();
        let connect = |cause: &str| HttpError::Connect {
            host: host(),
            cause: cause.to_owned(),
        };
        let dns = HttpError::Dns {
            host: host(),
            cause: "no such name".to_owned(),
        };
        for (error, clause) in [
            (connect("connection refused"), "connection refused"),
            (
                connect("tunnel error: unsuccessful"),
                "it refused to connect to there",
            ),
            (
                connect("tunnel error: proxy authorization required"),
                "it wants to be asked with a user name and a password",
            ),
            (dns, "no such name"),
        ] {
            let text = rules.explain(&url, error).to_string();
            let expected = format!(
                "no connection to registry.example: the proxy proxy.corp:3128 gave none: {clause} ("
            );
            assert!(text.starts_with(&expected), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        let tls = HttpError::Tls {
            host: host(),
            cause: "expired".to_owned(),
        };
        assert_eq!(rules.explain(&url, tls.clone()), tls);
    }

    #[test]
    fn proxy_passwords_are_not_printed() {
        let rules = ProxyRules::from_env(&MapEnv::from([(
            "HTTP_PROXY",
            "http://me:hunter2@proxy.corp",
        )]));
        assert!(!format!("{rules:?}").contains("hunter2"));
    }
}
