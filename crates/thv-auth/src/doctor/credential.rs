//! Judgements about a credential that needs no person: what it needs of this machine, each thing looked at where it is, and what the
//! registry says to its token. Nothing is fetched: a token endpoint is not asked for a token, and a command is not run, because either may
//! change something elsewhere. The evidence says so.

use std::path::Path;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use thv_config::world::Env;
use thv_http::Bearer;
use url::Url;

use super::check::Check;
use crate::credentials::{AuthError, LoginReason};
use crate::machine::assertion::assertion;
use crate::machine::fetched::FetchTrouble;
use crate::machine::file::{FileSight, read_file};
use crate::machine::mend::{confirm_host, described, mend, mend_client_secret, mend_file};
use crate::machine::program::may_run;
use crate::machine::secret::{Alphabet, SecretFault, SecretReader, SecretSource, Slot, checked};
use crate::machine::settings::{
    ClientAuthentication, CredentialKind, CredentialSettings, ServerSettings, SubjectSource,
};
use crate::machine::subject;
use crate::machine::token_host::judge;
use crate::machine::way::Way;
use crate::oauth::registration::host_of;

const IN_PLACE: &str = "credential.in_place_of_login";
const SECRET: &str = "credential.secret";
const KEY: &str = "credential.key";
const WORKLOAD: &str = "credential.workload_token";
const COMMAND: &str = "credential.command";
const TOKEN_HOST: &str = "credential.token_host";
const FETCH: &str = "credential.last_fetch";

/// A credential that counts in place of a login.
#[derive(Clone, Debug)]
pub(crate) struct InPlaceOfLogin {
    /// What it is and why it counts, for people.
    pub(crate) words: String,
    /// Why it cannot be used, as far as its description says.
    pub(crate) fault: Option<String>,
    /// Which way it comes.
    pub(crate) way: Way,
    /// Its settings, where it is configured and whole.
    pub(crate) settings: Option<CredentialSettings>,
    /// Host and port that its tokens came from first, if any did and its issuer named them.
    pub(crate) token_host: Option<String>,
    /// The registry that it is for.
    pub(crate) url: Url,
    /// Reads what it names.
    pub(crate) reader: SecretReader,
    /// What the last attempt of this process to fetch a token met, where it failed.
    pub(crate) trouble: Option<FetchTrouble>,
    /// The token that can be shown without asking anybody for one, or why there is none.
    pub(crate) at_hand: Result<Bearer, String>,
}

impl InPlaceOfLogin {
    /// The authorization server that tokens are asked for, if it has one.
    pub(super) fn server(&self) -> Option<&ServerSettings> {
        match self.settings.as_ref()? {
            CredentialSettings::ClientCredentials(client) => Some(&client.server),
            CredentialSettings::TokenExchange(workload)
            | CredentialSettings::JwtBearer(workload) => Some(&workload.server),
            CredentialSettings::Bearer(_)
            | CredentialSettings::ApiKey(_)
            | CredentialSettings::Command(_) => None,
        }
    }

    /// What to type to describe it anew.
    pub(super) fn described(&self) -> String {
        described(self.kind())
    }

    fn kind(&self) -> CredentialKind {
        let kind = self.settings.as_ref().map(CredentialSettings::kind);
        kind.unwrap_or(CredentialKind::Bearer)
    }

    /// What to do when the registry refuses it. Blocks.
    pub(super) fn if_refused(&self) -> String {
        self.mend(&AuthError::LoginRequired {
            reason: LoginReason::CredentialRejected,
        })
    }

    /// Which credential it is and what it needs of this machine. `env` is the environment, `now` our clock. Blocks.
    pub(super) fn examine(&self, env: &dyn Env, now: Timestamp) -> Vec<Check> {
        if let Some(fault) = &self.fault {
            return vec![Check::failed(
                IN_PLACE,
                format!("{}: {fault}", self.words),
                self.mend(&AuthError::Unusable {
                    cause: fault.clone(),
                }),
            )];
        }
        let mut checks = vec![Check::ok(IN_PLACE, &self.words)];
        let Some(settings) = &self.settings else {
            checks.push(self.injected());
            return checks;
        };
        match settings {
            CredentialSettings::Bearer(bearer) => checks.push(self.given(&bearer.token)),
            CredentialSettings::ApiKey(key) => checks.push(self.given(&key.key)),
            CredentialSettings::ClientCredentials(client) => {
                let proof = &client.authentication;
                checks.push(self.proof(proof, &client.server, &client.client_id, now));
            }
            CredentialSettings::TokenExchange(workload)
            | CredentialSettings::JwtBearer(workload) => {
                checks.push(workload_token(&workload.subject, env, now));
                let client = workload.client_id.as_deref().unwrap_or_default();
                let proof = workload.authentication.as_ref();
                checks.extend(proof.map(|proof| self.proof(proof, &workload.server, client, now)));
            }
            CredentialSettings::Command(command) => checks.push(self.command(&command.path)),
        }
        checks.extend(self.trouble.as_ref().map(|trouble| {
            let (error, said) = (&trouble.error, &trouble.said);
            let cause = format!("this process could not fetch a token the last time: {said}");
            let is_command = matches!(settings, CredentialSettings::Command(_));
            let fix = match error {
                // Whatever stopped it, the program is what to look at.
                AuthError::Unreachable { cause } if is_command => self.mend(&AuthError::Unusable {
                    cause: cause.clone(),
                }),
                AuthError::Unreachable { .. } => {
                    "see issuer.reachable and issuer.metadata".to_owned()
                }
                AuthError::Unusable { .. } if !is_command => {
                    "see what is said of the credential above".to_owned()
                }
                error => mend(self.way, Some(settings), error, trouble.code.as_deref()),
            };
            Check::failed(FETCH, cause, fix)
        }));
        checks
    }

    fn mend(&self, error: &AuthError) -> String {
        mend(self.way, self.settings.as_ref(), error, None)
    }

    fn injected(&self) -> Check {
        match &self.at_hand {
            Ok(bearer) => Check::ok(
                SECRET,
                format!(
                    "THV_REGISTRY_TOKEN is set to a value of {} bytes",
                    bearer.token().expose_secret().len()
                ),
            ),
            Err(cause) => Check::failed(
                SECRET,
                cause,
                self.mend(&AuthError::Unusable {
                    cause: cause.clone(),
                }),
            ),
        }
    }

    fn given(&self, source: &SecretSource) -> Check {
        let slot = Slot::of_token(&self.url);
        self.secret(source, &slot, Alphabet::Token, |cause| {
            self.mend(&AuthError::Unusable { cause })
        })
    }

    fn proof(
        &self,
        proof: &ClientAuthentication,
        server: &ServerSettings,
        client_id: &str,
        now: Timestamp,
    ) -> Check {
        match proof {
            ClientAuthentication::PrivateKeyJwt { key_file, key_id } => {
                match assertion(key_file, key_id.as_deref(), client_id, server.name(), now) {
                    Ok(_) => file(
                        KEY,
                        key_file,
                        "it holds a private key that signs assertions",
                    ),
                    Err(cause) => Check::failed(
                        KEY,
                        cause,
                        mend_file(key_file).unwrap_or_else(|| {
                            format!(
                                "put the client's private key there, {}: RSA or P-256, as PEM without a password",
                                key_file.display()
                            )
                        }),
                    ),
                }
            }
            by_secret => match by_secret.secret() {
                Some(source) => {
                    let slot = Slot::of_client(server, client_id);
                    self.secret(source, &slot, Alphabet::Secret, |_| {
                        mend_client_secret(source, self.kind())
                    })
                }
                None => Check::failed(SECRET, "the client has no secret", self.described()),
            },
        }
    }

    /// A value that is read from where it is said to be.
    fn secret(
        &self,
        source: &SecretSource,
        slot: &Slot,
        alphabet: Alphabet,
        fix: impl FnOnce(String) -> String,
    ) -> Check {
        let size = |value: SecretString| {
            format!("it holds a value of {} bytes", value.expose_secret().len())
        };
        match (self.reader.read(source, slot, alphabet), source.file()) {
            (Ok(value), Some(path)) => file(SECRET, path, &size(value)),
            (Ok(value), None) => Check::ok(SECRET, format!("{}: {}", source.shown(), size(value))),
            (Err(SecretFault::Store { cause, .. }), _) => {
                Check::failed(SECRET, cause, "thv secret status")
            }
            (Err(fault), _) => Check::failed(SECRET, fault.to_string(), fix(fault.to_string())),
        }
    }

    fn command(&self, path: &Path) -> Check {
        let shown = path.display();
        match may_run(path) {
            Ok(real) => Check::ok(
                COMMAND,
                format!(
                    "{shown} ({}) can be run and be changed by nobody else; it was not run here, `thv registry list` runs it",
                    real.display()
                ),
            ),
            Err(cause) => Check::failed(
                COMMAND,
                format!("{shown} is not run: {cause}"),
                format!(
                    "put the program there, for its user alone to change, or name another: `{}`",
                    self.described()
                ),
            ),
        }
    }
}

/// The token of the workload itself.
fn workload_token(source: &SubjectSource, env: &dyn Env, now: Timestamp) -> Check {
    let path = match source {
        SubjectSource::File(path) => path,
        SubjectSource::GithubActions { .. } => {
            return match subject::github_fault(env) {
                None => Check::ok(
                    WORKLOAD,
                    "this is a GitHub Actions job that may ask for its token; it was not asked for",
                ),
                Some(fault) => Check::failed(
                    WORKLOAD,
                    fault,
                    "give the job `permissions: id-token: write`, and run this in it",
                ),
            };
        }
    };
    let place = format!("the file {}", path.display());
    let read = read_file(path).and_then(|token| checked(token, &place, Alphabet::Token));
    let token = match read {
        Ok(token) => token,
        Err(fault) => {
            return Check::failed(
                WORKLOAD,
                fault.to_string(),
                mend_file(path).unwrap_or_else(|| {
                    format!(
                        "have whoever runs this workload put its token into {}",
                        path.display()
                    )
                }),
            );
        }
    };
    let whose = subject::account(&token).map_or_else(
        || "it holds a token that does not say whose it is".to_owned(),
        |account| format!("it holds the token of {account}"),
    );
    match subject::expiry(&token) {
        Some(end) if end <= now => Check::failed(
            WORKLOAD,
            format!("{place}: {whose}, which ended at {end}"),
            "have whoever runs this workload replace its token, as Kubernetes does by itself",
        ),
        Some(end) => file(WORKLOAD, path, &format!("{whose}, until {end}")),
        None => file(WORKLOAD, path, &whose),
    }
}

/// Whether tokens come from the host that they came from first, which is `known` once one was fetched.
pub(super) fn token_host(known: Option<&str>, endpoint: &Url, describe: &str) -> Check {
    let now = host_of(endpoint);
    match known {
        None => Check::ok(
            TOKEN_HOST,
            format!("tokens come from {now}; none was fetched yet"),
        ),
        Some(before) => match judge(before, now) {
            Ok(()) => Check::ok(
                TOKEN_HOST,
                format!("tokens come from {before}, as at first"),
            ),
            Err(changed) => Check::failed(
                TOKEN_HOST,
                changed.to_string(),
                format!(
                    "ask the issuer's operator whether that is right; {}",
                    confirm_host(describe)
                ),
            ),
        },
    }
}

/// A file that could be read and holds what it should.
fn file(id: &'static str, path: &Path, holds: &str) -> Check {
    let shown = path.display();
    match FileSight::of(path) {
        FileSight::Exposed(remark) => Check::warning(
            id,
            format!("the file {shown}: {holds}; {}", remark.cause),
            remark.fix,
        ),
        FileSight::Private | FileSight::Absent | FileSight::Refused(_) => {
            Check::ok(id, format!("the file {shown}: {holds}"))
        }
    }
}
