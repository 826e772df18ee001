//! Which credential a registry is read with: [`choose`], one pure function over what is there.
//!
//! The order is: a token that the environment injects, a credential that is configured for the registry, the login that somebody made, none.
//! What is there and is for this registry but is not whole ends the choice: going on would make somebody else of us. Gathering the facts
//! is `registry`'s part.

use serde::Serialize;

use super::settings::CredentialKind;

/// What the choice is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The environment.
    pub environment: EnvironmentFact,
    /// The settings of the registry.
    pub configured: ConfiguredFact,
    /// Whether a login is configured.
    pub login: bool,
}

/// What the environment has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvironmentFact {
    /// No token.
    Absent,
    /// A token for another origin.
    ForAnother {
        /// That origin.
        origin: String,
    },
    /// Variables that make no whole.
    Incomplete {
        /// What is missing or wrong.
        cause: String,
    },
    /// A token for this registry, or a key.
    Token(CredentialKind),
}

/// What the settings have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfiguredFact {
    /// No credential.
    Absent,
    /// A credential for another registry URL.
    ForAnother {
        /// That URL.
        url: String,
    },
    /// They cannot be read, or describe no whole credential.
    Incomplete {
        /// What is missing or wrong.
        cause: String,
    },
    /// A credential for this registry.
    Credential(CredentialKind),
}

/// Where the credential comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The environment injects it.
    Environment,
    /// It is configured and needs no person.
    Configured,
    /// Somebody logs in.
    Login,
    /// There is none.
    None,
}

/// The choice and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where the credential comes from.
    pub way: Way,
    /// Which kind it is; absent for a login and for none, and where the settings do not say.
    pub kind: Option<CredentialKind>,
    /// Why this way, for people.
    pub why: String,
    /// Why there is no credential although this way is taken.
    pub fault: Option<String>,
    /// What is there and is for another registry, for people.
    pub passed_over: Vec<String>,
}

/// Chooses. Every combination has a row in the test below.
pub fn choose(facts: &Facts) -> Choice {
    let mut passed_over = Vec::new();
    let choice = |way, kind, why: &str, fault, passed_over| Choice {
        way,
        kind,
        why: why.to_owned(),
        fault,
        passed_over,
    };
    match &facts.environment {
        EnvironmentFact::Token(kind) => {
            let why = "THV_REGISTRY_TOKEN is set, which comes before everything else";
            return choice(Way::Environment, Some(*kind), why, None, passed_over);
        }
        EnvironmentFact::Incomplete { cause } => {
            let why = "variables of THV_REGISTRY_TOKEN are set, which come before everything else";
            let fault = Some(cause.clone());
            return choice(Way::Environment, None, why, fault, passed_over);
        }
        EnvironmentFact::ForAnother { origin } => {
            passed_over.push(format!("THV_REGISTRY_TOKEN is for {origin}"));
        }
        EnvironmentFact::Absent => {}
    }
    match &facts.configured {
        ConfiguredFact::Credential(kind) => {
            let why = "a credential is configured for this registry, which comes before a login";
            return choice(Way::Configured, Some(*kind), why, None, passed_over);
        }
        ConfiguredFact::Incomplete { cause } => {
            let why = "a credential is configured for this registry, which comes before a login";
            let fault = Some(cause.clone());
            return choice(Way::Configured, None, why, fault, passed_over);
        }
        ConfiguredFact::ForAnother { url } => {
            passed_over.push(format!("the configured credential is for {url}"));
        }
        ConfiguredFact::Absent => {}
    }
    if facts.login {
        let why = "a login is configured, and no credential that needs no person";
        choice(Way::Login, None, why, None, passed_over)
    } else {
        let why = "no credential and no login is configured";
        choice(Way::None, None, why, None, passed_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_whole_way_is_taken_and_a_partial_one_is_the_end() {
        use ConfiguredFact as C;
        use EnvironmentFact as E;
        let cause = || "why".to_owned();
        let environments = [
            E::Absent,
            E::ForAnother { origin: cause() },
            E::Incomplete { cause: cause() },
            E::Token(CredentialKind::Bearer),
        ];
        let configured = [
            C::Absent,
            C::ForAnother { url: cause() },
            C::Incomplete { cause: cause() },
            C::Credential(CredentialKind::Command),
        ];
        // Per environment and settings: without a login, and with one. `!` says that there is no credential.
        let expected = [
            [
                "none login",
                "none+1 login+1",
                "configured! configured!",
                "configured configured",
            ],
            [
                "none+1 login+1",
                "none+2 login+2",
                "configured!+1 configured!+1",
                "configured+1 configured+1",
            ],
            ["environment! environment!"; 4],
            ["environment environment"; 4],
        ];
        for (environment, row) in environments.iter().zip(expected) {
            for (configured, cell) in configured.iter().zip(row) {
                for (login, wanted) in [false, true].into_iter().zip(cell.split(' ')) {
                    let facts = Facts {
                        environment: environment.clone(),
                        configured: configured.clone(),
                        login,
                    };
                    let choice = choose(&facts);
                    let way = match choice.way {
                        Way::Environment => "environment",
                        Way::Configured => "configured",
                        Way::Login => "login",
                        Way::None => "none",
                    };
                    let mark = if choice.fault.is_some() { "!" } else { "" };
                    let over = match choice.passed_over.len() {
                        0 => String::new(),
                        count => format!("+{count}"),
                    };
                    assert_eq!(format!("{way}{mark}{over}"), wanted, "{facts:?}");
                    let has_kind = choice.kind.is_some();
                    let needs_kind = matches!(choice.way, Way::Environment | Way::Configured)
                        && choice.fault.is_none();
                    assert_eq!(has_kind, needs_kind, "{facts:?}");
                }
            }
        }
    }
}
