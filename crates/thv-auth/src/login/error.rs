//! Why a login came to nothing, typed by what can be done about it.
//!
//! Texts are for the person who logs in. They name no code, token or state, and of the identity provider's own words only
//! what `callback` let through.

use std::time::Duration;

use thiserror::Error;

/// Why a login came to nothing. Unless it says otherwise, an earlier grant is still there and still works.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoginError {
    /// What a login would bring cannot be kept, so none was started.
    #[error("the login was not started because it could not be stored: {hint}")]
    StoreUnusable {
        /// What is wrong with the secret store, and what to do about it.
        hint: String,
    },
    /// The identity provider's description of itself cannot be had or used.
    #[error("OIDC discovery failed for issuer {issuer}: {cause}")]
    Discovery {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong.
        cause: String,
        /// Whether trying again may help.
        transient: bool,
    },
    /// The settings cannot be made into an authorization request.
    #[error("no login can be started with these settings: {cause}")]
    Settings {
        /// What is wrong with them.
        cause: String,
    },
    /// Somebody else listens where the identity provider would send the browser.
    #[error(
        "port {port} on this machine is in use{}; {}",
        holder.clause(),
        if *is_ours {
            "thv has registered its client with it, and can do so with another"
        } else {
            "the client is registered with it at the identity provider, and only another registered one will do"
        }
    )]
    PortBusy {
        /// The port.
        port: u16,
        /// Who has it, as far as can be told.
        holder: PortHolder,
        /// Whether the client is one that this program has registered.
        is_ours: bool,
    },
    /// The identity provider gives no code for another device, and nothing else was wanted.
    #[error("no login with a device code can be made: {cause}")]
    NoDeviceCode {
        /// Why not.
        cause: String,
        /// Whether trying again may help.
        transient: bool,
    },
    /// The system does not let us listen.
    #[error("port {port} on this machine cannot be listened on: {cause}")]
    Listener {
        /// The port.
        port: u16,
        /// What the system says.
        cause: String,
    },
    /// Nobody could be shown where to log in.
    #[error(
        "no browser could be opened: {cause}; log in with `thv registry login --device` or `--no-browser` on the command line, or start a login that opens nothing with POST to …/auth/logins"
    )]
    NothingToOpen {
        /// What was tried.
        cause: String,
    },
    /// The identity provider, or the person, refused.
    #[error("the identity provider refused the login: {code}{}", in_brackets(description.as_deref()))]
    Denied {
        /// The error code (RFC 6749 section 4.1.2.1).
        code: String,
        /// What the identity provider adds for people.
        description: Option<String>,
    },
    /// The answer came from another identity provider than the one that was asked.
    #[error("the answer to the login was not used: {cause}")]
    ForeignIssuer {
        /// Which one, and which was asked.
        cause: String,
    },
    /// Nobody finished the login in time.
    #[error("nobody finished the login within {}{}", in_words(*limit), in_vain(*turned_away))]
    Expired {
        /// How long there was.
        limit: Duration,
        /// How many answers came meanwhile that did not belong to it.
        turned_away: u64,
    },
    /// The identity provider gave its device code up before anybody had typed it in.
    #[error("the identity provider ended the code before anybody had finished the login with it")]
    CodeExpired,
    /// Everybody who waited for it has left.
    #[error("the login was given up")]
    Abandoned,
    /// A client that knows its name ended it.
    #[error("the login was cancelled before anybody finished it")]
    Withdrawn,
    /// There are as many logins under way as there may be.
    #[error("too many logins are under way; finish or cancel one of them")]
    TooMany,
    /// A logout or a change of the configuration ended it.
    #[error("the login was ended by a logout or by a change of the registry's configuration")]
    Cancelled,
    /// The identity provider did not give a token for its own code.
    #[error("the identity provider gave no token: {cause}")]
    Exchange {
        /// What it said instead.
        cause: String,
        /// Its error code, if it gave one (RFC 6749 section 5.2).
        code: Option<String>,
        /// Whether trying again may help.
        transient: bool,
    },
    /// Who has logged in cannot be told for sure, so nothing was kept.
    #[error("the identity provider's word on who logged in is not acceptable: {cause}")]
    IdToken {
        /// What is wrong with it.
        cause: String,
    },
    /// Somebody else has logged in than the last time, and nobody said that this is meant. What came was given back.
    #[error("the login is of {now}, and so far {before} was logged in here; it was not taken")]
    AccountMismatch {
        /// Who was logged in before, as people know it.
        before: String,
        /// Who has logged in now.
        now: String,
    },
    /// The login succeeded and could not be stored. The identity provider believes that we hold tokens.
    #[error("the login could not be stored: {cause}")]
    NotStored {
        /// What is wrong with the secret store.
        cause: String,
    },
    /// The login succeeded and what it asked for could not be configured: more scopes, or another client.
    #[error(
        "the login succeeded, and the configuration that belongs to it could not be written: {cause}"
    )]
    NotConfigured {
        /// What is wrong with the configuration's file.
        cause: String,
    },
    /// A fault of ours.
    #[error("the login broke off: {cause}")]
    Internal {
        /// What happened.
        cause: String,
    },
}

impl LoginError {
    /// Whether it came to nothing before anybody was asked to log in.
    pub fn asked_nobody(&self) -> bool {
        matches!(
            self,
            Self::StoreUnusable { .. }
                | Self::Discovery { .. }
                | Self::Settings { .. }
                | Self::PortBusy { .. }
                | Self::NoDeviceCode { .. }
                | Self::Listener { .. }
                | Self::NothingToOpen { .. }
                | Self::TooMany
        )
    }

    /// Whether it ended after a person may have answered, or may not: a browser that is logged in brings a code without anybody.
    pub fn may_be_answered(&self) -> bool {
        matches!(self, Self::Exchange { .. } | Self::IdToken { .. })
    }

    /// Whether a person has answered, whatever became of it. An identity provider refuses a request by itself, too, and a browser
    /// that is logged in there brings a code without anybody.
    pub fn was_answered(&self) -> bool {
        match self {
            Self::Denied { code, .. } => code == "access_denied",
            Self::AccountMismatch { .. } | Self::NotStored { .. } | Self::NotConfigured { .. } => {
                true
            }
            _ => false,
        }
    }
}

/// Who listens on the port that a login needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortHolder {
    /// A login of this process, to this registry.
    ThisProcess {
        /// The registry's host.
        registry: String,
    },
    /// A login of another process of ours.
    AnotherLogin {
        /// Which one, as far as can be told: its name and number.
        process: Option<String>,
    },
    /// Somebody else.
    Unknown {
        /// The same.
        process: Option<String>,
    },
}

impl PortHolder {
    fn clause(&self) -> String {
        match self {
            Self::ThisProcess { registry } => {
                format!(" by the login to {registry} that is still waiting")
            }
            Self::AnotherLogin { process } => match process {
                Some(process) => format!(" by {process}, which is waiting for a login"),
                None => " by another thv that is waiting for a login".to_owned(),
            },
            Self::Unknown { process } => {
                format!(" by {}", process.as_deref().unwrap_or("another program"))
            }
        }
    }
}

fn in_brackets(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

/// Whole minutes from two minutes on, seconds below.
pub(crate) fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds / 60),
    }
}

fn in_vain(turned_away: u64) -> String {
    match turned_away {
        0 => String::new(),
        1 => "; one answer came that was not acceptable".to_owned(),
        count => format!("; {count} answers came that were not acceptable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_persons_word_is_an_answer() {
        let denied = |code: &str| LoginError::Denied {
            code: code.to_owned(),
            description: None,
        };
        assert!(denied("access_denied").was_answered());
        for code in ["invalid_scope", "temporarily_unavailable", "login_required"] {
            assert!(!denied(code).was_answered(), "{code}");
        }
        let unusable = LoginError::Exchange {
            cause: "no".to_owned(),
            code: Some("invalid_client".to_owned()),
            transient: false,
        };
        assert!(!unusable.was_answered());
    }

    #[test]
    fn texts_say_what_happened_and_what_to_do() {
        for (error, text) in [
            (
                LoginError::PortBusy {
                    port: 8666,
                    holder: PortHolder::AnotherLogin {
                        process: Some("thv (PID 4711)".to_owned()),
                    },
                    is_ours: false,
                },
                "port 8666 on this machine is in use by thv (PID 4711), which is waiting for a login; the client is registered with it at the identity provider, and only another registered one will do",
            ),
            (
                LoginError::PortBusy {
                    port: 8666,
                    holder: PortHolder::Unknown { process: None },
                    is_ours: true,
                },
                "port 8666 on this machine is in use by another program; thv has registered its client with it, and can do so with another",
            ),
            (
                LoginError::Denied {
                    code: "access_denied".into(),
                    description: Some("not assigned".into()),
                },
                "the identity provider refused the login: access_denied (not assigned)",
            ),
            (
                LoginError::Expired {
                    limit: Duration::from_mins(5),
                    turned_away: 2,
                },
                "nobody finished the login within 5 minutes; 2 answers came that were not acceptable",
            ),
            (
                LoginError::Discovery {
                    issuer: "https://id.example".into(),
                    cause: "404".into(),
                    transient: false,
                },
                "OIDC discovery failed for issuer https://id.example: 404",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
