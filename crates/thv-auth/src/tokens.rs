//! The credential of a registry that is logged in to, or can be: stored grants, kept fresh.
//!
//! This is what a registry source asks before each request. It answers from the engine's view of the store and can start a
//! renewal, never a login.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use thv_http::Bearer;

use crate::binding::Binding;
use crate::credentials::{AuthError, AuthStatus, Credentials, LoginReason};
use crate::grant::{Grant, TokenFingerprint};
use crate::refresh::{Known, Lane, Need, RefreshEngine, View, blocking};

/// The credential for one binding.
pub struct GrantCredentials {
    engine: RefreshEngine,
    lane: Arc<Lane>,
    /// The binding's, which takes a hash to make.
    key: String,
}

impl GrantCredentials {
    /// The credential for `binding`. Inside a runtime the store is read at once, in the background.
    pub fn new(engine: &RefreshEngine, binding: &Binding) -> Self {
        let credentials = Self {
            lane: engine.lane(binding),
            key: binding.key(),
            engine: engine.clone(),
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let inner = Arc::clone(credentials.engine.inner());
            let lane = Arc::clone(&credentials.lane);
            drop(runtime.spawn(async move { inner.look(&lane).await }));
        }
        credentials
    }

    /// Reads the store unless that has just been done, so that [`Credentials::status`] tells the truth of now.
    pub async fn look(&self) {
        self.engine.inner().look(&self.lane).await;
    }

    fn identity_in(&self, view: &View) -> String {
        let key = &self.key;
        let who = view.grant().map(|grant| match &grant.account {
            Some(account) => format!("account\n{}", account.sub),
            None => format!("login\n{}", grant.login_id),
        });
        format!("oauth\n{key}\n{}", who.as_deref().unwrap_or("nobody"))
    }

    fn login_needed_in(&self, view: &View) -> Option<LoginReason> {
        if matches!(view.known, Known::Unread) {
            // Nothing is known yet, either way.
            return None;
        }
        match view.absence() {
            Some(AuthError::LoginRequired { reason }) => return Some(reason),
            Some(
                AuthError::Unreachable { .. }
                | AuthError::Store { .. }
                | AuthError::Unusable { .. },
            ) => return None,
            None => {}
        }
        match self.engine.inner().need(view.grant()?) {
            Need::Login(reason) => Some(reason),
            Need::Nothing | Need::Soon | Need::Now if view.is_refused() => {
                Some(LoginReason::Rejected)
            }
            Need::Nothing | Need::Soon | Need::Now => view.insufficient.map(|_| {
                if view.is_scope_in_vain {
                    LoginReason::ScopeInVain
                } else {
                    LoginReason::InsufficientScope
                }
            }),
        }
    }

    fn status_in(&self, view: &View) -> AuthStatus {
        if view.grant().is_some() && self.login_needed_in(view).is_none() {
            AuthStatus::Authenticated
        } else {
            AuthStatus::Configured
        }
    }

    fn bearer_of(&self, grant: &Grant) -> Option<Bearer> {
        self.engine.inner().bearer_of(grant, &self.lane.binding)
    }
}

impl Credentials for GrantCredentials {
    fn status(&self) -> AuthStatus {
        self.status_in(&self.lane.view.borrow())
    }

    /// One account's reading is kept apart from another's. Where no ID token said who logged in, each login counts as
    /// somebody else's.
    fn identity(&self) -> String {
        self.identity_in(&self.lane.view.borrow())
    }

    fn is_still(&self, reader: &str) -> bool {
        let view = self.lane.view.borrow();
        view.grant().is_none()
            || self.login_needed_in(&view).is_some()
            || self.identity_in(&view) == reader
    }

    fn bearer(&self) -> BoxFuture<'_, Result<Option<Bearer>, AuthError>> {
        async move {
            let grant = self.engine.inner().usable_grant(&self.lane).await?;
            Ok(self.bearer_of(&grant))
        }
        .boxed()
    }

    fn prepare(&self) -> BoxFuture<'_, ()> {
        self.look().boxed()
    }

    fn login_needed(&self) -> Option<LoginReason> {
        self.login_needed_in(&self.lane.view.borrow())
    }

    fn rejected<'a>(&'a self, bearer: &'a Bearer) -> BoxFuture<'a, bool> {
        async move {
            let refused = TokenFingerprint::of(bearer.token());
            self.engine.inner().renew_refused(&self.lane, refused).await
        }
        .boxed()
    }

    fn lacks_scopes<'a>(&'a self, bearer: &'a Bearer, scopes: &'a [String]) -> BoxFuture<'a, ()> {
        async move {
            let lacking = TokenFingerprint::of(bearer.token());
            let vault = self.engine.vault().clone();
            let binding = self.lane.binding.clone();
            let scopes = scopes.to_vec();
            let wanted = blocking(move || {
                vault.want_scopes(&binding, &scopes)?;
                vault.wanted_scopes(&binding)
            });
            let wanted = wanted.await;
            if let Err(error) = &wanted {
                tracing::debug!(%error, "the scopes that a registry wants are not noted");
            }
            self.lane.view.send_modify(|view| {
                let current = view.grant().and_then(|grant| grant.access_fingerprint());
                if current == Some(lacking) {
                    // What a login asks for already is not wanted: the provider does not grant it, or the registry refuses it.
                    view.is_scope_in_vain = wanted.is_ok_and(|wanted| wanted.is_empty());
                    view.insufficient = current;
                }
            });
        }
        .boxed()
    }

    fn accepted(&self, bearer: &Bearer) {
        let accepted = TokenFingerprint::of(bearer.token());
        {
            let view = self.lane.view.borrow();
            let current = view.grant().and_then(|grant| grant.access_fingerprint());
            let is_known = view.accepted == Some(accepted);
            // A late answer to a token of before says nothing of this one.
            if current != Some(accepted)
                || is_known && !view.is_refused() && view.insufficient.is_none()
            {
                return;
            }
        }
        self.lane.view.send_modify(|view| {
            view.accepted = Some(accepted);
            if view.refused == Some(accepted) {
                view.refused = None;
            }
            if view.insufficient == Some(accepted) {
                view.insufficient = None;
            }
        });
    }
}

impl fmt::Debug for GrantCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantCredentials")
            .field("issuer", &self.lane.binding.issuer)
            .field("client_id", &self.lane.binding.client_id)
            .finish_non_exhaustive()
    }
}
