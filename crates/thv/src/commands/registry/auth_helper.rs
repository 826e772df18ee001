//! `thv registry auth-helper`: another program of the same user asks for the registry's token, one JSON object each way.
//!
//! `{"version":1,"kind":"get","url":"https://registry.example/v0.1/servers"}` is answered by
//! `{"version":1,"header":"Authorization","value":"Bearer …","expires_at":"…"}`, or by `{"version":1,"error":"…","message":"…"}`. Nothing is
//! handed out before the user has switched it on, nor for another origin than the registry's, nor ever a refresh token.

use std::io::Read as _;

use serde::{Deserialize, Serialize};
use thv_auth::{AuthFailure, HandedOut};
use thv_config::world::World;
use thv_http::secrecy::ExposeSecret as _;
use thv_registry::Revalidation;
use url::Url;

use super::token;
use crate::failure::{CommandError, describe};
use crate::output::Output;
use crate::wire_up;

/// The version of the exchange.
const VERSION: u64 = 1;

/// Most bytes of a question: a URL and a few words.
const QUESTION_MAX_BYTES: u64 = 16 * 1024;

/// What is asked. Members that are not known are no hindrance.
#[derive(Debug, Deserialize)]
struct Question {
    version: u64,
    kind: String,
    url: Url,
}

#[derive(Serialize)]
struct Answer<'a> {
    version: u64,
    header: &'a str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct Refusal<'a> {
    version: u64,
    error: &'a str,
    message: &'a str,
}

pub(super) async fn run(world: &World, output: &mut Output) -> Result<(), CommandError> {
    match answer(world).await {
        Ok(answer) => Ok(output.print(answer)?),
        Err(error) => {
            let refusal = Refusal {
                version: VERSION,
                error: word(&error),
                message: &describe(&error).message,
            };
            let mut text = serde_json::to_string(&refusal).map_err(CommandError::encode)?;
            text.push('\n');
            output.print(text)?;
            // The exit code says the same.
            Err(error)
        }
    }
}

async fn answer(world: &World) -> Result<Vec<u8>, CommandError> {
    let question = read()?;
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    if !catalogs.auth.others_may_ask().await? {
        return Err(CommandError::HelperOff);
    }
    let handed = token::hand_out(&catalogs, Some(&question.url)).await?;
    written(&handed)
}

fn written(handed: &HandedOut) -> Result<Vec<u8>, CommandError> {
    let token = handed.bearer.token().expose_secret();
    let (header, value) = match handed.bearer.header() {
        Some(header) => (header.as_str(), token.to_owned()),
        None => ("Authorization", format!("Bearer {token}")),
    };
    let answer = Answer {
        version: VERSION,
        header,
        value: value.as_str(),
        expires_at: handed.expires_at.map(|at| at.to_string()),
    };
    let mut text = serde_json::to_vec(&answer).map_err(CommandError::encode)?;
    text.push(b'\n');
    Ok(text)
}

fn read() -> Result<Question, CommandError> {
    let usage = |text: &str| CommandError::Usage(text.to_owned());
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(QUESTION_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| usage(&format!("standard input cannot be read: {error}")))?;
    let question: Question = serde_json::from_slice(&bytes).map_err(|_| {
        usage(r#"standard input is no question; ask {"version":1,"kind":"get","url":"https://…"}"#)
    })?;
    if question.version != VERSION || question.kind != "get" {
        return Err(usage("only version 1 and the kind \"get\" are known"));
    }
    Ok(question)
}

/// The word of an error, for programs.
fn word(error: &CommandError) -> &'static str {
    match error {
        CommandError::HelperOff => "disabled",
        CommandError::NoToken | CommandError::Auth(AuthFailure::NoBinding(_)) => "no_credential",
        CommandError::Usage(_) => "bad_request",
        CommandError::Auth(AuthFailure::WrongOrigin(_)) => "wrong_origin",
        CommandError::Auth(AuthFailure::BoundToken) => "token_bound",
        CommandError::Auth(AuthFailure::Credential(error)) => error.reason(),
        _ => "failed",
    }
}
