//! `thv registry logout`: forgets the tokens of the registry and says what became of them.

use thv_auth::logout::{LogoutReceipt, TokenReceipt};
use thv_auth::machine::Way;
use thv_config::world::World;
use thv_registry::Revalidation;

use crate::failure::CommandError;
use crate::output::{Output, json};
use crate::wire_up;

pub(super) async fn run(
    as_json: bool,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let registry = catalogs.default_registry()?;
    let work = async {
        registry.forget_catalog().await;
        let receipt = catalogs.auth.logout().await;
        // What is here is gone by now; what earlier ones have left may take its time.
        let waiting = catalogs.auth.give_back_queued().await;
        receipt.map(|receipt| (receipt, waiting))
    };
    let (receipt, waiting) = super::patiently("Logging out", world, output, Box::pin(work)).await?;
    if as_json {
        output.print(json::pretty(&receipt).map_err(CommandError::encode)?)?;
    } else {
        for line in words(&receipt, waiting) {
            output.remark(&line);
        }
    }
    Ok(())
}

fn words(receipt: &LogoutReceipt, waiting: usize) -> Vec<String> {
    let mut lines = vec![if receipt.deleted == 0 {
        "Nobody was logged in.".to_owned()
    } else {
        "Logged out.".to_owned()
    }];
    if receipt.read_only_store {
        lines.push(
            "The tokens come from the environment and are still there; unset their variables."
                .to_owned(),
        );
    }
    lines.extend(receipt.credential.map(|credential| {
        match (credential.outcome, credential.way) {
            ("deleted", _) => "The token that was kept for the registry is deleted.".to_owned(),
            (_, Way::Environment) => {
                "THV_REGISTRY_TOKEN is set and still counts; unset it to go without.".to_owned()
            }
            _ => "The configured credential stays; `thv config unset-registry-credential` forgets it."
                .to_owned(),
        }
    }));
    lines.extend(receipt.tokens.iter().filter_map(|token| {
        let name = token.token.replace('_', " ");
        match token.outcome {
            "revoked" => None,
            "queued" => Some(format!(
                "The {name} could not be given back now{}. It is kept sealed, and given back by a server that runs, or at a login or logout that comes after some minutes.",
                cause(token)
            )),
            "unsupported" => Some(format!(
                "The identity provider revokes no {name}s; this one works there until it expires."
            )),
            _ => Some(format!(
                "The {name} could not be revoked at the identity provider{}.",
                cause(token)
            )),
        }
    }));
    let queued = receipt
        .tokens
        .iter()
        .filter(|token| token.outcome == "queued");
    let earlier = waiting.saturating_sub(queued.count());
    if earlier > 0 {
        let tokens = if earlier == 1 { "token" } else { "tokens" };
        lines.push(format!(
            "Still to be given back, as soon as the identity provider answers: {earlier} {tokens} of earlier logins."
        ));
    }
    if receipt.unopened > 0 {
        lines.push(format!(
            "Deleted {} other logins too; what they held works at its provider until it expires.",
            receipt.unopened
        ));
    }
    lines.extend(
        receipt
            .end_session_url
            .as_ref()
            .map(|url| format!("To end the session in a browser too, open: {url}")),
    );
    lines
}

fn cause(token: &TokenReceipt) -> String {
    let cause = token.cause.as_ref();
    cause.map(|cause| format!(": {cause}")).unwrap_or_default()
}
