//! The strict rules that a person may relax for one registry, by name, and no other way.
//!
//! A rule that is not here cannot be relaxed. What was relaxed for a login is kept with it and shown in its status, beside what is
//! relaxed for later ones; where the names of a registry are configured is decided elsewhere.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One strict rule, not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relaxation {
    /// The provider's metadata say nothing about PKCE (MCP authorization wants such providers refused). S256 is sent all the
    /// same.
    MissingPkceMetadata,
    /// The protected-resource metadata name a parent path of the registry (RFC 9728 section 3.3 wants the same URL).
    ResourceParentPath,
    /// The issuer that the person named is not among those that the registry names (RFC 9728 section 2).
    UnlistedIssuer,
    /// The issuer is spelled with a slash at its end in one document and without in the other. Always conceded for an issuer
    /// without a path, and shown.
    IssuerRootSlash,
    /// The provider offers to bind tokens to a key (RFC 9449), and the token is used as a bearer token all the same. Shown, and chosen
    /// with `--dpop` only.
    BearerDespiteDpop,
    /// The provider does not say that its answers name their issuer (RFC 9207), which tells answers of two providers apart. Shown; an
    /// answer that names one is compared all the same, and clients that this program registered come back to an address per issuer.
    MissingIssParameter,
}

/// The rules that are not applied to one registry.
pub type Relaxations = BTreeSet<Relaxation>;

/// A name that no relaxation has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no rule that a person can relax; there are {}", names().join(", "))]
pub struct UnknownRelaxation {
    /// The name.
    pub name: String,
}

const ALL: [Relaxation; 6] = [
    Relaxation::MissingPkceMetadata,
    Relaxation::ResourceParentPath,
    Relaxation::UnlistedIssuer,
    Relaxation::IssuerRootSlash,
    Relaxation::BearerDespiteDpop,
    Relaxation::MissingIssParameter,
];

/// Those that a person can choose by name. The others are conceded or chosen otherwise.
const CHOOSABLE: [Relaxation; 3] = [
    Relaxation::MissingPkceMetadata,
    Relaxation::ResourceParentPath,
    Relaxation::UnlistedIssuer,
];

impl Relaxation {
    /// The rule of this name, where a person can choose to do without it.
    ///
    /// # Errors
    /// When it is none, or none that can be chosen by name.
    pub fn chosen(name: &str) -> Result<Self, UnknownRelaxation> {
        name.parse()
            .ok()
            .filter(|relaxation| CHOOSABLE.contains(relaxation))
            .ok_or_else(|| UnknownRelaxation {
                name: name.to_owned(),
            })
    }

    /// The name, in settings, flags and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingPkceMetadata => "allow_missing_pkce_metadata",
            Self::ResourceParentPath => "allow_resource_parent_path",
            Self::UnlistedIssuer => "allow_unlisted_issuer",
            Self::IssuerRootSlash => "issuer_root_slash",
            Self::BearerDespiteDpop => "bearer_despite_dpop",
            Self::MissingIssParameter => "missing_iss_parameter",
        }
    }
}

impl FromStr for Relaxation {
    type Err = UnknownRelaxation;

    fn from_str(name: &str) -> Result<Self, UnknownRelaxation> {
        ALL.into_iter()
            .find(|relaxation| relaxation.as_str() == name)
            .ok_or_else(|| UnknownRelaxation {
                name: name.to_owned(),
            })
    }
}

impl fmt::Display for Relaxation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn names() -> Vec<&'static str> {
    CHOOSABLE.into_iter().map(Relaxation::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_relaxation_is_known_by_its_name_and_by_no_other() {
        for relaxation in ALL {
            assert_eq!(relaxation.as_str().parse(), Ok(relaxation));
        }
        for conceded in [
            "issuer_root_slash",
            "bearer_despite_dpop",
            "missing_iss_parameter",
        ] {
            assert!(Relaxation::chosen(conceded).is_err(), "{conceded}");
        }
        assert_eq!(
            Relaxation::chosen("allow_unlisted_issuer"),
            Ok(Relaxation::UnlistedIssuer)
        );
        let error = "insecure".parse::<Relaxation>().expect_err("unknown");
        assert!(
            error.to_string().contains("allow_unlisted_issuer"),
            "{error}"
        );
    }
}
