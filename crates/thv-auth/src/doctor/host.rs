//! Judgements about a host on the network: the way to it, whether it answers, its certificate and its clock. The same questions
//! are asked about the registry and about the identity provider.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use thv_http::{HttpError, Phase, Reply, Way};
use url::Url;

use super::check::Check;
use crate::limits::SKEW_MAX;
use crate::oauth::answer::server_date;

/// A difference between clocks that nobody notices: the `Date` of an answer counts whole seconds, and caches add some.
const SKEW_UNNOTICED: Duration = Duration::from_mins(1);

/// One host as it was seen.
#[derive(Debug)]
pub(super) struct HostSight {
    pub(super) url: Url,
    pub(super) way: Result<Way, HttpError>,
    pub(super) answer: Result<Reply, HttpError>,
    /// How long the answer took.
    pub(super) took: Duration,
    /// Our clock when it came.
    pub(super) at: Timestamp,
}

/// The names of the checks of one host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) proxy: &'static str,
    pub(super) dns: &'static str,
    pub(super) reachable: &'static str,
    pub(super) tls: &'static str,
    pub(super) clock: &'static str,
}

pub(super) const REGISTRY: Names = Names {
    proxy: "registry.proxy",
    dns: "registry.dns",
    reachable: "registry.reachable",
    tls: "registry.tls",
    clock: "registry.clock",
};

pub(super) const ISSUER: Names = Names {
    proxy: "issuer.proxy",
    dns: "issuer.dns",
    reachable: "issuer.reachable",
    tls: "issuer.tls",
    clock: "issuer.clock",
};

impl Names {
    /// The checks of a host that there is no need to look at.
    pub(super) fn skipped(self, why: &str) -> Vec<Check> {
        [self.proxy, self.dns, self.reachable, self.tls, self.clock]
            .into_iter()
            .map(|id| Check::skipped(id, why))
            .collect()
    }

    /// What is to be said of a host, whatever its answer means.
    pub(super) fn judge(self, sight: &HostSight) -> Vec<Check> {
        vec![
            self.proxy(&sight.way),
            self.dns(&sight.url, &sight.way),
            self.reachable(sight),
            self.tls(sight),
            self.clock(sight),
        ]
    }

    fn proxy(self, way: &Result<Way, HttpError>) -> Check {
        match way {
            Ok(Way::Direct(_)) => Check::ok(self.proxy, "reached without a proxy"),
            Ok(Way::Proxied(proxy)) => Check::ok(
                self.proxy,
                format!("reached through the proxy {proxy} of the environment"),
            ),
            Err(error) => Check::failed(self.proxy, error.to_string(), fix(error)),
        }
    }

    fn dns(self, url: &Url, way: &Result<Way, HttpError>) -> Check {
        let host = url.host_str().unwrap_or_default();
        match way {
            Ok(Way::Direct(Ok(addresses))) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                Check::ok(self.dns, format!("{host} is {}", addresses.join(", ")))
            }
            Ok(Way::Direct(Err(error))) => Check::failed(self.dns, error.to_string(), fix(error)),
            Ok(Way::Proxied(_)) => Check::skipped(self.dns, "the proxy resolves the name"),
            Err(_) => Check::skipped(self.dns, "the proxy cannot be used"),
        }
    }

    fn reachable(self, sight: &HostSight) -> Check {
        let url = thv_http::display_url(&sight.url);
        match &sight.answer {
            Ok(reply) if reply.status.is_server_error() => Check::failed(
                self.reachable,
                format!("{url} answered {}", reply.status),
                "try again later; if it stays so, tell its operator",
            ),
            Ok(reply) => Check::ok(
                self.reachable,
                format!(
                    "{url} answered {} after {} ms",
                    reply.status,
                    sight.took.as_millis()
                ),
            ),
            Err(error) => Check::failed(self.reachable, error.to_string(), fix(error)),
        }
    }

    fn tls(self, sight: &HostSight) -> Check {
        if sight.url.scheme() != "https" {
            return Check::skipped(self.tls, "it is reached over plain http");
        }
        match &sight.answer {
            Ok(_) => Check::ok(self.tls, "its certificate is trusted and is for this host"),
            Err(error @ HttpError::Tls { .. }) => {
                Check::failed(self.tls, error.to_string(), fix(error))
            }
            Err(_) => Check::skipped(self.tls, "there is no connection to look at"),
        }
    }

    fn clock(self, sight: &HostSight) -> Check {
        let date = sight.answer.as_ref().ok().and_then(server_date);
        let Some(date) = date else {
            return Check::skipped(self.clock, "no answer told the time");
        };
        // The date was written somewhere between question and answer.
        let half = SignedDuration::try_from(sight.took / 2).unwrap_or_default();
        let ahead = date.duration_since(sight.at).saturating_add(half);
        let seconds = ahead.as_secs();
        let shown = match seconds {
            0 => "the same time as this machine".to_owned(),
            1.. => format!("{seconds} s ahead of this machine"),
            _ => format!("{} s behind this machine", seconds.unsigned_abs()),
        };
        match ahead.unsigned_abs() {
            difference if difference <= SKEW_UNNOTICED => {
                Check::ok(self.clock, format!("its clock shows {shown}"))
            }
            difference if difference <= SKEW_MAX => Check::warning(
                self.clock,
                format!("its clock is {shown}; expiries are corrected by that"),
                "set the clock: `timedatectl set-ntp true` on Linux",
            ),
            _ => Check::failed(
                self.clock,
                format!("its clock is {shown}, which is too much to be corrected"),
                "set the clock: `timedatectl set-ntp true` on Linux",
            ),
        }
    }
}

/// What to do about an exchange that failed.
pub(super) fn fix(error: &HttpError) -> &'static str {
    match error {
        HttpError::Dns { .. } => {
            "check the spelling of the host, and whether this machine is on its network (VPN)"
        }
        HttpError::Connect { .. } | HttpError::Protocol { .. } => {
            "check the port, and whether a firewall or a missing HTTPS_PROXY is in the way"
        }
        HttpError::Timeout { which, .. } if *which == Phase::Connect => {
            "check whether a firewall or a missing HTTPS_PROXY is in the way"
        }
        HttpError::Timeout { .. } => "try again; if it stays so, tell the host's operator",
        HttpError::Tls { .. } => {
            "trust the authority that signed it: `ca_certificate_path: FILE` in config.yaml, or SSL_CERT_FILE=FILE"
        }
        HttpError::Blocked { .. } | HttpError::PlainHttp { .. } => {
            "if this host is on your own network: `thv config set-registry URL --allow-private-ip`"
        }
        HttpError::Proof { .. } => "thv registry login",
        HttpError::CredentialsInClear { .. } => "use an https address",
        HttpError::Proxy { .. } => "set HTTPS_PROXY to http://HOST:PORT, or unset it",
        HttpError::Trust { .. } | HttpError::ClientCertificate { .. } | HttpError::Setup { .. } => {
            "see network.trust"
        }
        HttpError::BadUrl { .. } => "thv config set-registry URL",
        HttpError::BadRedirect { .. } | HttpError::TooManyRedirects { .. } => {
            "configure the address that it redirects to"
        }
        HttpError::TooLarge { .. } => "check the address: this is not what was asked for",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use http::header::DATE;

    use super::super::check::Outcome;
    use super::*;

    pub(in super::super) fn reply(
        status: u16,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Reply {
        let mut map = http::HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header"));
        }
        Reply {
            status: http::StatusCode::from_u16(status).expect("a status"),
            headers: map,
            body: body.to_owned().into(),
            url: Url::parse("https://id.example/").expect("a url"),
        }
    }

    fn sight(answer: Result<Reply, HttpError>) -> HostSight {
        HostSight {
            url: Url::parse("https://me:pw@id.example/x?token=1").expect("a url"),
            way: Ok(Way::Direct(Ok(vec!["192.0.2.1".parse().expect("ip")]))),
            answer,
            took: Duration::from_millis(20),
            at: "2026-11-25T12:00:00Z".parse().expect("a time"),
        }
    }

    fn outcomes(checks: &[Check]) -> Vec<(&'static str, Outcome)> {
        checks
            .iter()
            .map(|check| (check.id, check.outcome))
            .collect()
    }

    #[test]
    fn a_healthy_host_is_ok_and_its_secrets_are_not_shown() {
        let answer = reply(200, &[("date", "Wed, 25 Nov 2026 12:00:01 GMT")], "");
        let checks = ISSUER.judge(&sight(Ok(answer)));
        assert!(
            checks.iter().all(|check| check.outcome == Outcome::Ok),
            "{checks:?}"
        );
        let shown = format!("{checks:?}");
        assert!(!shown.contains("pw") && !shown.contains("token"), "{shown}");
    }

    #[test]
    fn each_failure_fails_its_own_check() {
        let tls = HttpError::Tls {
            host: "id.example".to_owned(),
            cause: "unknown issuer".to_owned(),
        };
        let checks = ISSUER.judge(&sight(Err(tls)));
        assert_eq!(
            outcomes(&checks)[2..],
            [
                ("issuer.reachable", Outcome::Failed),
                ("issuer.tls", Outcome::Failed),
                ("issuer.clock", Outcome::Skipped),
            ]
        );
        assert!(checks[3].fix.as_deref().unwrap().contains("SSL_CERT_FILE"));
        let dns = HttpError::Dns {
            host: "id.example".to_owned(),
            cause: "no such name".to_owned(),
        };
        let mut unknown = sight(Err(dns.clone()));
        unknown.way = Ok(Way::Direct(Err(dns)));
        let checks = REGISTRY.judge(&unknown);
        assert_eq!(
            outcomes(&checks),
            [
                ("registry.proxy", Outcome::Ok),
                ("registry.dns", Outcome::Failed),
                ("registry.reachable", Outcome::Failed),
                ("registry.tls", Outcome::Skipped),
                ("registry.clock", Outcome::Skipped),
            ]
        );
        let mut proxied = sight(Ok(reply(502, &[], "")));
        proxied.way = Ok(Way::Proxied("http://proxy.corp:3128/".to_owned()));
        let checks = REGISTRY.judge(&proxied);
        assert_eq!(
            outcomes(&checks)[..3],
            [
                ("registry.proxy", Outcome::Ok),
                ("registry.dns", Outcome::Skipped),
                ("registry.reachable", Outcome::Failed),
            ]
        );
    }

    #[test]
    fn clocks_are_compared_with_each_servers_own() {
        for (date, outcome, words) in [
            ("Wed, 25 Nov 2026 12:00:59 GMT", Outcome::Ok, "ahead"),
            ("Wed, 25 Nov 2026 11:59:10 GMT", Outcome::Ok, "49 s behind"),
            (
                "Wed, 25 Nov 2026 12:05:00 GMT",
                Outcome::Warning,
                "300 s ahead",
            ),
            ("Wed, 25 Nov 2026 11:00:00 GMT", Outcome::Warning, "behind"),
            ("Mon, 25 Nov 2024 12:00:00 GMT", Outcome::Failed, "too much"),
            ("yesterday", Outcome::Skipped, "no answer"),
        ] {
            let checks = ISSUER.judge(&sight(Ok(reply(200, &[(DATE.as_str(), date)], ""))));
            let check = checks.last().expect("the clock");
            assert_eq!(check.outcome, outcome, "{check:?}");
            assert!(check.evidence.contains(words), "{check:?}");
        }
    }
}
