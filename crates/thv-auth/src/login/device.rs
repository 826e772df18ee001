//! The device's way through a login: asking for a code, and asking until somebody has typed it in.
//!
//! The requests and their pace are `oauth::device`'s; here is what their outcome means for the login.

use futures_util::future::pending;
use url::Url;

use super::error::LoginError;
use super::finish::not_exchanged;
use super::flow::Flow;
use super::resource::LoginMethod;
use crate::oauth::{
    DeviceAuthorization, DeviceError, Pace, Poll, Provider, TokenError, TokenSet, begin_device,
    poll_device,
};

impl Flow {
    /// Asks for a code that a person can type in.
    pub(super) async fn ask_for_code(
        &self,
        provider: &Provider,
    ) -> Result<DeviceAuthorization, LoginError> {
        begin_device(
            &self.logins.http,
            provider,
            &self.binding,
            &self.how.authentication,
        )
        .await
        .map_err(|error| {
            tracing::debug!(registry = self.registry(), %error, "no device code");
            LoginError::NoDeviceCode {
                transient: matches!(error, DeviceError::Refused(TokenError::Transient { .. })),
                cause: error.to_string(),
            }
        })
    }

    /// Waits until somebody has typed the code in. While a browser can finish the login too, a code that nothing will come of
    /// is only no longer offered; a person who refuses ends the login in any case.
    pub(super) async fn redeem_device(
        &self,
        provider: &Provider,
        device: Option<&DeviceAuthorization>,
        has_browser: bool,
    ) -> Result<TokenSet, LoginError> {
        let Some(device) = device else {
            return pending().await;
        };
        match self.poll(provider, device).await {
            Err(error) if has_browser && !matches!(error, LoginError::Denied { .. }) => {
                tracing::debug!(registry = self.registry(), %error, "the device code is void");
                self.progress.show(|stage| {
                    stage
                        .methods
                        .retain(|method| !matches!(method, LoginMethod::Device { .. }));
                });
                pending().await
            }
            ended => ended,
        }
    }

    async fn poll(
        &self,
        provider: &Provider,
        device: &DeviceAuthorization,
    ) -> Result<TokenSet, LoginError> {
        let clock = &self.logins.world.clock;
        let mut deadline = clock.sleep(device.lifetime);
        let mut pace = Pace::of(device);
        let mut pause = pace.interval();
        loop {
            tokio::select! {
                biased;
                () = deadline.as_mut() => return Err(LoginError::Expired {
                    limit: device.lifetime,
                    turned_away: 0,
                }),
                () = clock.sleep(pause) => {}
            }
            let poll = poll_device(
                &self.logins.http,
                provider,
                &self.binding,
                &self.how.authentication,
                device,
                self.prover.get(),
            )
            .await;
            pause = pace.after(&poll);
            match poll {
                Poll::Granted(tokens) => return Ok(*tokens),
                Poll::Denied { description } => {
                    return Err(LoginError::Denied {
                        code: "access_denied".to_owned(),
                        description,
                    });
                }
                Poll::Expired => return Err(LoginError::CodeExpired),
                Poll::Failed(error) => return Err(not_exchanged(&error)),
                Poll::Pending | Poll::SlowDown | Poll::NoAnswer { .. } => {}
            }
        }
    }
}

impl DeviceAuthorization {
    /// The code as a way to finish a login.
    pub(super) fn method(&self) -> LoginMethod {
        LoginMethod::Device {
            verification_uri: self.verification_uri.clone(),
            verification_uri_complete: self.verification_uri_complete.clone(),
            user_code: self.user_code.clone(),
            interval: self.interval,
        }
    }

    /// Where a person is best sent.
    pub(super) fn address(&self) -> &Url {
        self.verification_uri_complete
            .as_ref()
            .unwrap_or(&self.verification_uri)
    }
}
