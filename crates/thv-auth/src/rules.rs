//! The rules for logins to one registry, as a person has settled them: kept in `registries.json`, for one URL.
//!
//! Values and their reading; what a rule means is decided where it is applied, in `login::flow` and `pin`.

use std::str::FromStr as _;

use thv_config::RegistrySettings;

use crate::oauth::{DiscoveryPolicy, DpopUse, PkceUnadvertised};
use crate::relaxation::{Relaxation, Relaxations};

/// The rules for logins to one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginRules {
    /// Whether what the registry and its issuer say of themselves has to fit, apart from [`relaxations`](Self::relaxations): so where the
    /// login was found out from the registry's URL, and not configured by somebody who knows better.
    pub strict: bool,
    /// The rules that a person has relaxed.
    pub relaxations: Relaxations,
    /// Whether tokens are bound to a key.
    pub dpop: DpopUse,
}

/// What a person changes of them with a login; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesChange {
    /// Whether every rule holds from now on, apart from [`relaxed`](Self::relaxed): what was relaxed before is taken back, and
    /// issuer and client that were named by hand are held to the rules, too.
    pub strict: bool,
    /// The rules that are relaxed, beside those that are already.
    pub relaxed: Relaxations,
    /// Whether tokens are bound to a key.
    pub dpop: Option<DpopUse>,
}

/// How the login of a registry came to be configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configured {
    /// It was found out from the registry's URL, or every rule is to hold; under these relaxations.
    Strictly(Relaxations),
    /// Somebody named issuer and client.
    ByHand,
}

impl LoginRules {
    /// The rules in `settings`. Words of other versions mean what their absence means.
    pub fn read(settings: &RegistrySettings) -> Self {
        let known = |name: &String| Relaxation::from_str(name).ok();
        let dpop = settings.dpop.as_deref().map(DpopUse::from_str);
        Self {
            strict: settings.strict_login,
            relaxations: settings.relaxations.iter().filter_map(known).collect(),
            dpop: dpop.and_then(Result::ok).unwrap_or_default(),
        }
    }

    /// Whether a rule does not hold.
    pub fn relaxes(&self, rule: Relaxation) -> bool {
        !self.strict || self.relaxations.contains(&rule)
    }

    /// How the issuer is looked for.
    pub fn discovery(&self) -> DiscoveryPolicy {
        DiscoveryPolicy {
            pkce_unadvertised: if self.relaxes(Relaxation::MissingPkceMetadata) {
                PkceUnadvertised::Accept
            } else {
                PkceUnadvertised::Refuse
            },
            ..DiscoveryPolicy::DEFAULT
        }
    }
}

impl RulesChange {
    /// Writes the change into `settings`.
    pub fn apply(&self, settings: &mut RegistrySettings) {
        if self.strict {
            settings.strict_login = true;
            settings.relaxations.clear();
        }
        for relaxed in self.relaxed.iter().map(ToString::to_string) {
            if !settings.relaxations.contains(&relaxed) {
                settings.relaxations.push(relaxed);
            }
        }
        if let Some(dpop) = self.dpop {
            settings.dpop = Some(dpop)
                .filter(|dpop| *dpop != DpopUse::default())
                .map(|dpop| dpop.as_str().to_owned());
        }
    }
}

impl Configured {
    /// Writes it into `settings`.
    pub fn apply(&self, settings: &mut RegistrySettings) {
        let (strict, relaxations) = match self {
            Self::Strictly(relaxations) => (true, relaxations.clone()),
            Self::ByHand => (false, Relaxations::new()),
        };
        settings.strict_login = strict;
        settings.relaxations = relaxations.iter().map(ToString::to_string).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_touches_what_it_names_and_reads_as_it_was_written() {
        let mut settings = RegistrySettings::for_url("https://r.example");
        assert_eq!(LoginRules::read(&settings), LoginRules::default());
        Configured::Strictly([Relaxation::UnlistedIssuer].into()).apply(&mut settings);
        let required = RulesChange {
            relaxed: [Relaxation::ResourceParentPath].into(),
            dpop: Some(DpopUse::Required),
            strict: false,
        };
        required.apply(&mut settings);
        let rules = LoginRules::read(&settings);
        assert!(rules.strict && rules.relaxes(Relaxation::UnlistedIssuer));
        assert!(rules.relaxes(Relaxation::ResourceParentPath));
        assert!(!rules.relaxes(Relaxation::MissingPkceMetadata));
        assert_eq!(rules.dpop, DpopUse::Required);
        let auto = RulesChange {
            dpop: Some(DpopUse::Auto),
            ..RulesChange::default()
        };
        auto.apply(&mut settings);
        assert_eq!(settings.dpop, None);
        assert!(LoginRules::read(&settings).strict);
        Configured::ByHand.apply(&mut settings);
        assert_eq!(LoginRules::read(&settings), LoginRules::default());
    }

    #[test]
    fn strict_rules_hold_for_what_was_named_by_hand_and_take_back_what_was_relaxed() {
        let mut settings = RegistrySettings::for_url("https://r.example");
        settings.relaxations = vec![Relaxation::UnlistedIssuer.to_string()];
        let strict = RulesChange {
            strict: true,
            relaxed: [Relaxation::MissingPkceMetadata].into(),
            dpop: None,
        };
        strict.apply(&mut settings);
        let rules = LoginRules::read(&settings);
        assert!(rules.strict && rules.relaxes(Relaxation::MissingPkceMetadata));
        assert!(!rules.relaxes(Relaxation::UnlistedIssuer));
    }

    #[test]
    fn only_a_login_that_was_found_out_has_to_fit_in_every_way() {
        let by_hand = LoginRules::default();
        assert_eq!(
            by_hand.discovery().pkce_unadvertised,
            PkceUnadvertised::Accept
        );
        let found = LoginRules {
            strict: true,
            ..LoginRules::default()
        };
        assert_eq!(
            found.discovery().pkce_unadvertised,
            PkceUnadvertised::Refuse
        );
    }

    #[test]
    fn words_of_other_versions_relax_nothing() {
        let mut settings = RegistrySettings::for_url("https://r.example");
        settings.strict_login = true;
        settings.relaxations = vec!["everything".to_owned()];
        settings.dpop = Some("sometimes".to_owned());
        let rules = LoginRules::read(&settings);
        assert!(rules.relaxations.is_empty());
        assert_eq!(rules.dpop, DpopUse::Auto);
    }
}
