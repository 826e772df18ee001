//! The way to a host, looked at without going it: which proxy stands in between, what the name resolves to, and whether the
//! certificate authorities can be read. For somebody who wants to know why an exchange fails; exchanges themselves do not
//! come here.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use thv_config::world::Env;
use url::{Host, Url};

use crate::client::{Http, Route, within};
use crate::error::{HttpError, Phase};
use crate::policy::display_url;
use crate::proxy::ProxyRules;
use crate::resolve::AddressRule;

/// How requests to one host travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Straight, to one of these addresses; all that the name resolves to, whatever a policy allows.
    Direct(Result<Vec<IpAddr>, HttpError>),
    /// Through the proxy of this address, without its password. The proxy resolves the name.
    Proxied(String),
}

/// What is trusted beside the system's authorities, and what we show of ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The files that settings name.
    pub files: Vec<PathBuf>,
    /// Whether they, and the client certificate if there is one, can be used.
    pub usable: Result<(), HttpError>,
}

impl Http {
    /// How requests to `url` travel. A name is looked up within `limit`, unless a proxy does that.
    pub async fn way_to(&self, url: &Url, limit: Duration) -> Result<Way, HttpError> {
        let inner = self.inner();
        if inner.proxy.applies_to(url)? {
            return Ok(Way::Proxied(shown_proxy(&inner.proxy, url)));
        }
        let name = match url.host() {
            Some(Host::Ipv4(v4)) => return Ok(Way::Direct(Ok(vec![v4.into()]))),
            Some(Host::Ipv6(v6)) => return Ok(Way::Direct(Ok(vec![v6.into()]))),
            Some(Host::Domain(name)) => name,
            None => {
                return Err(HttpError::BadUrl {
                    shown: display_url(url),
                    cause: "it has no host".to_owned(),
                });
            }
        };
        let looked_up = within(&*inner.clock, limit, Phase::Connect, async {
            let found = AddressRule::Any.lookup(name).await?;
            let mut addresses: Vec<IpAddr> = found.iter().map(std::net::SocketAddr::ip).collect();
            addresses.sort_unstable();
            addresses.dedup();
            Ok(addresses)
        });
        Ok(Way::Direct(looked_up.await))
    }

    /// What is trusted, and whether it can be read. Reads files.
    pub async fn trust(&self) -> Trust {
        let inner = self.inner();
        Trust {
            files: inner.trust.files(),
            usable: inner
                .transport(Route::Direct(AddressRule::Any))
                .await
                .map(drop),
        }
    }
}

/// The proxy of `env` that requests to `url` go through, without its password; `None` where there is none, or none that can be
/// used.
pub fn proxy_for(env: &dyn Env, url: &Url) -> Option<String> {
    let rules = ProxyRules::from_env(env);
    let is_web = matches!(url.scheme(), "http" | "https");
    let is_used = is_web && rules.applies_to(url).is_ok_and(|applies| applies);
    is_used.then(|| shown_proxy(&rules, url))
}

fn shown_proxy(rules: &ProxyRules, url: &Url) -> String {
    let setting = if url.scheme() == "https" {
        rules.https()
    } else {
        rules.http()
    };
    setting
        .and_then(|setting| Url::parse(setting.expose_secret()).ok())
        .map(|proxy| display_url(&proxy))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use thv_config::world::{MapEnv, SystemClock, World};

    use super::*;
    use crate::client::HttpOptions;

    const LIMIT: Duration = Duration::from_secs(5);

    fn http(env: MapEnv) -> Http {
        let options = HttpOptions {
            user_agent: "test".to_owned(),
            extra_ca: None,
            insecure_urls: false,
        };
        Http::new(options, &World::new(SystemClock::new(), env)).expect("a client")
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a url")
    }

    #[tokio::test]
    async fn a_proxy_is_shown_without_its_password_and_an_address_needs_no_lookup() {
        let proxied = http(MapEnv::from([(
            "HTTPS_PROXY",
            "http://me:hunter2@proxy.corp:3128",
        )]));
        assert_eq!(
            proxied
                .way_to(&url("https://registry.example"), LIMIT)
                .await,
            Ok(Way::Proxied("http://proxy.corp:3128/".to_owned()))
        );
        assert_eq!(
            proxied.way_to(&url("http://10.0.0.1/x"), LIMIT).await,
            Ok(Way::Direct(Ok(vec!["10.0.0.1".parse().expect("ip")])))
        );
    }

    #[tokio::test]
    async fn a_proxy_that_cannot_be_used_and_a_missing_bundle_are_told() {
        let broken = http(MapEnv::from([
            ("HTTPS_PROXY", "socks5://proxy.corp"),
            ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ]));
        let way = broken.way_to(&url("https://registry.example"), LIMIT).await;
        assert!(matches!(way, Err(HttpError::Proxy { .. })), "{way:?}");
        let trust = broken.trust().await;
        assert_eq!(trust.files, [PathBuf::from("/nowhere/ca.pem")]);
        assert!(
            matches!(trust.usable, Err(HttpError::Trust { .. })),
            "{trust:?}"
        );
    }
}
