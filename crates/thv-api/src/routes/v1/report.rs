//! The documentation of [`thv_auth::status::AuthReport`], which writes itself. A test holds the two
//! against each other.

#![expect(dead_code, reason = "these types are documentation; nobody makes one")]

use utoipa::ToSchema;

/// Where the login stands.
#[derive(ToSchema)]
#[schema(as = RegistryAuthReport)]
pub(crate) struct AuthReportSchema {
    /// `none`, `login_required`, `authenticated`, `provider_unavailable`, `store_unavailable`, `ready` (a
    /// credential that fetches its tokens when they are needed) or `credential_unusable`.
    #[schema(example = "authenticated")]
    state: String,
    /// What is missing, in one word; the same as in the errors of reads.
    #[schema(nullable = false, example = "grant_revoked")]
    reason: Option<String>,
    /// What is missing, for people.
    #[schema(nullable = false)]
    detail: Option<String>,
    #[schema(nullable = false, inline)]
    account: Option<AccountSchema>,
    /// The identity provider.
    #[schema(nullable = false)]
    issuer: Option<String>,
    /// Our client identifier there.
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// Sent as `resource` (RFC 8707).
    #[schema(nullable = false)]
    resource: Option<String>,
    /// Sent as `audience`.
    #[schema(nullable = false)]
    audience: Option<String>,
    #[schema(inline)]
    scopes: ScopesSchema,
    /// Where the login comes from: `login`, `taken_over` from the Go program, or `environment`.
    #[schema(nullable = false)]
    source: Option<String>,
    #[schema(inline)]
    store: StoreSchema,
    /// Type of the access token.
    #[schema(nullable = false)]
    token_type: Option<String>,
    /// When the access token expires, by this machine's clock.
    #[schema(nullable = false, format = DateTime)]
    expires_at: Option<String>,
    /// Whether the login can be renewed without anybody.
    refreshable: bool,
    /// From when on this server renews it in the background.
    #[schema(nullable = false, format = DateTime)]
    next_refresh_at: Option<String>,
    /// Whether it is being renewed now.
    refreshing: bool,
    #[schema(nullable = false, inline)]
    last_refresh: Option<RefreshSchema>,
    /// A renewal began then, and its end is not known.
    #[schema(nullable = false, format = DateTime)]
    refresh_outcome_unknown_since: Option<String>,
    /// Seconds until a renewal that failed is tried again.
    #[schema(nullable = false)]
    retry_after_s: Option<u64>,
    /// How many seconds servers' clocks are ahead of this machine's.
    #[schema(nullable = false)]
    clock_skew_s: Option<i64>,
    #[schema(nullable = false, inline)]
    credential: Option<CredentialSchema>,
    /// Rules that are not applied to this registry.
    relaxations: Vec<String>,
    #[schema(nullable = false, inline)]
    pending_login: Option<PendingSchema>,
    /// When the access token was got, at the login or at the last renewal, by this machine's clock.
    #[schema(nullable = false, format = DateTime)]
    received_at: Option<String>,
    /// How many tokens of earlier logouts the identity provider could not be told of yet.
    #[schema(nullable = false)]
    queued_revocations: Option<u64>,
    #[schema(nullable = false, inline)]
    live: Option<LiveSchema>,
    /// What works and could do harm, for people: a token's file that others can read, for example.
    #[schema(required = false)]
    warnings: Vec<String>,
    /// What a person types next, when something is to be done: a command, or words with commands between backticks.
    #[schema(nullable = false, example = "thv registry login")]
    next_step: Option<String>,
}

/// What the registry says to the current token; only with `?check=live`.
#[derive(ToSchema)]
struct LiveSchema {
    /// `accepted`, `refused`, `forbidden`, `unclear`, `unreachable` or `no_token`.
    result: String,
    /// The status of its answer.
    #[schema(nullable = false)]
    status: Option<u16>,
    /// What happened instead of an answer.
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// Who is logged in, as far as the identity provider says.
#[derive(ToSchema)]
struct AccountSchema {
    /// The identity provider's identifier for the account.
    sub: String,
    /// Its name.
    #[schema(nullable = false)]
    name: Option<String>,
    /// Its e-mail address.
    #[schema(nullable = false)]
    email: Option<String>,
}

/// Which credential is used, and why.
#[derive(ToSchema)]
struct CredentialSchema {
    /// `environment`, `configured`, `login` or `none`.
    #[schema(example = "configured")]
    way: String,
    /// `bearer`, `api_key`, `client_credentials`, `token_exchange`, `jwt_bearer` or `command`; absent for a
    /// login and for none.
    #[schema(nullable = false, example = "client_credentials")]
    kind: Option<String>,
    /// Why it is this one.
    why: String,
    /// What is there and is for another registry.
    #[schema(required = false)]
    passed_over: Vec<String>,
}

/// Scopes.
#[derive(ToSchema)]
struct ScopesSchema {
    /// Asked for.
    requested: Vec<String>,
    /// Granted.
    granted: Vec<String>,
    /// Granted, and not asked for.
    #[schema(nullable = false)]
    unrequested: Option<Vec<String>>,
    /// What the registry wanted beyond those; the next login asks for them too.
    #[schema(nullable = false)]
    wanted: Option<Vec<String>>,
}

/// The secret store.
#[derive(ToSchema)]
struct StoreSchema {
    /// `encrypted` or `environment`.
    #[schema(nullable = false)]
    kind: Option<String>,
    /// Whether it can be used.
    usable: bool,
    /// Why it cannot, and what to do.
    #[schema(nullable = false)]
    problem: Option<String>,
    /// The file it is in.
    #[schema(nullable = false)]
    file: Option<String>,
    /// Where the key of that file comes from.
    #[schema(nullable = false)]
    key: Option<String>,
    /// What decided on this store.
    #[schema(nullable = false)]
    why: Option<String>,
}

/// The end of the last renewal.
#[derive(ToSchema)]
struct RefreshSchema {
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// `renewed`, `adopted`, or the word of the failure.
    result: String,
}

/// A login that waits for a person. Its id, which lets whoever knows it answer and end it, is not told here: `POST …/auth/logins` joins it
/// and tells.
#[derive(ToSchema)]
struct PendingSchema {
    /// When it began.
    #[schema(format = DateTime)]
    started_at: String,
    /// When it is given up.
    #[schema(format = DateTime)]
    expires_at: String,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use thv_auth::grant::GrantOrigin;
    use thv_auth::machine::{CredentialKind, Way};
    use thv_auth::status::{
        AuthReport, LiveCheck, LiveResult, PendingLogin, ReportedAccount, ReportedCredential,
        ReportedRefresh, ReportedScopes, ReportedStore,
    };
    use utoipa::PartialSchema;

    use super::AuthReportSchema;

    /// A report with every member there is.
    fn full() -> AuthReport {
        let text = || Some("x".to_owned());
        let time = jiff::Timestamp::UNIX_EPOCH;
        AuthReport {
            reason: Some("x"),
            detail: text(),
            account: Some(ReportedAccount {
                sub: "x".to_owned(),
                name: text(),
                email: text(),
            }),
            issuer: text(),
            client_id: text(),
            resource: text(),
            audience: text(),
            scopes: ReportedScopes {
                unrequested: vec!["x".to_owned()],
                wanted: vec!["x".to_owned()],
                ..ReportedScopes::default()
            },
            source: Some(GrantOrigin::Login),
            store: ReportedStore {
                kind: Some("x"),
                usable: true,
                problem: text(),
                file: text(),
                key: text(),
                why: Some("x"),
            },
            token_type: text(),
            expires_at: Some(time),
            last_refresh: Some(ReportedRefresh {
                at: time,
                result: "x",
            }),
            refresh_outcome_unknown_since: Some(time),
            retry_after_s: Some(1),
            clock_skew_s: Some(1),
            credential: Some(ReportedCredential {
                way: Way::Configured,
                kind: Some(CredentialKind::Bearer),
                why: "x".to_owned(),
                passed_over: vec!["x".to_owned()],
            }),
            next_refresh_at: Some(time),
            pending_login: Some(PendingLogin {
                started_at: time,
                expires_at: time,
            }),
            received_at: Some(time),
            queued_revocations: Some(1),
            live: Some(LiveCheck {
                result: LiveResult::Accepted,
                status: Some(200),
                detail: text(),
            }),
            warnings: vec!["x".to_owned()],
            next_step: Some("x".into()),
            if_refused: None,
            ..AuthReport::anonymous()
        }
    }

    /// The names of the members of `value`, and of the objects within.
    fn written(value: &Value, at: &str, names: &mut BTreeSet<String>) {
        for (name, member) in value.as_object().into_iter().flatten() {
            names.insert(format!("{at}{name}"));
            written(member, &format!("{at}{name}."), names);
        }
    }

    fn documented(schema: &Value, at: &str, names: &mut BTreeSet<String>) {
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            names.insert(format!("{at}{name}"));
            documented(member, &format!("{at}{name}."), names);
        }
    }

    #[test]
    fn the_documentation_has_the_members_of_the_report() {
        let report = serde_json::to_value(full()).unwrap();
        let schema = serde_json::to_value(AuthReportSchema::schema()).unwrap();
        let (mut left, mut right) = (BTreeSet::new(), BTreeSet::new());
        written(&report, "", &mut left);
        documented(&schema, "", &mut right);
        assert_eq!(left, right);
    }

    #[test]
    fn the_documentation_requires_what_every_report_has() {
        let report = serde_json::to_value(AuthReport::anonymous()).unwrap();
        let schema = serde_json::to_value(AuthReportSchema::schema()).unwrap();
        let always: BTreeSet<_> = report.as_object().unwrap().keys().collect();
        let required = schema["required"].as_array().unwrap().iter();
        let required: BTreeSet<_> = required.map(|name| name.as_str().unwrap()).collect();
        assert!(always.into_iter().eq(required), "{report} {schema}");
    }
}
