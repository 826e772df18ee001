//! `thv secret set`, `get`, `list` and `delete`. `get` is the only verb that shows a value.

use secrecy::ExposeSecret as _;
use serde::Serialize;
use thv_secrets::{SYSTEM_PREFIX, SecretName, UserSecrets};

use crate::failure::CommandError;
use crate::input;
use crate::output::table::one_line;
use crate::output::{NOTICE, Output, json};

/// A secret with its value, for a program that asked for it.
#[derive(Serialize)]
struct Shown<'a> {
    key: &'a str,
    value: &'a str,
}

/// A secret in a list.
#[derive(Serialize)]
struct Row {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

pub(super) fn set(secrets: &UserSecrets, name: &str) -> Result<(), CommandError> {
    // Nobody should type a secret for a store that takes none.
    secrets.ready_to_set(name)?;
    let value = input::secret("Enter secret value (input will be hidden): ")?;
    if value.expose_secret().is_empty() {
        return Err(CommandError::EmptySecret);
    }
    Ok(secrets.set(name, &value)?)
}

pub(super) fn get(
    secrets: &UserSecrets,
    name: &str,
    as_json: bool,
    output: &mut Output,
) -> Result<(), CommandError> {
    let value = secrets.get(name)?;
    if output.is_terminal() {
        output.remark_styled(
            NOTICE,
            "Caution",
            "the value stays in this terminal's scrollback; a pipe or `$(…)` keeps it out of sight.",
        );
    }
    if as_json {
        let shown = Shown {
            key: name,
            value: value.expose_secret(),
        };
        output.print(json::pretty(&shown).map_err(CommandError::encode)?)?;
    } else {
        output.print_exact(value.expose_secret().as_bytes())?;
        output.print_exact(b"\n")?;
    }
    Ok(())
}

pub(super) fn delete(secrets: &UserSecrets, name: &str, system: bool) -> Result<(), CommandError> {
    if !system {
        return Ok(secrets.delete(name)?);
    }
    if !name.starts_with(SYSTEM_PREFIX) {
        return Err(CommandError::Usage(format!(
            "--system flag requires a system key (starting with \"{SYSTEM_PREFIX}\"); got \"{name}\""
        )));
    }
    Ok(secrets.delete_system(&SecretName::stored(name)?)?)
}

pub(super) fn list(
    secrets: &UserSecrets,
    system: bool,
    as_json: bool,
    output: &mut Output,
) -> Result<(), CommandError> {
    let rows = if system {
        system_rows(secrets)?
    } else {
        user_rows(secrets)?
    };
    if as_json {
        output.print(json::pretty(&rows).map_err(CommandError::encode)?)?;
    } else {
        output.print(text(&rows, system))?;
    }
    Ok(())
}

fn user_rows(secrets: &UserSecrets) -> Result<Vec<Row>, CommandError> {
    let listed = secrets.list()?;
    Ok(listed
        .into_iter()
        .map(|secret| Row {
            key: secret.name.to_string(),
            description: secret.description,
            scope: None,
        })
        .collect())
}

fn system_rows(secrets: &UserSecrets) -> Result<Vec<Row>, CommandError> {
    let listed = secrets.list_system()?;
    Ok(listed
        .into_iter()
        .map(|secret| Row {
            key: secret.name.to_string(),
            description: None,
            scope: Some(secret.scope),
        })
        .collect())
}

fn text(rows: &[Row], system: bool) -> String {
    let (heading, none) = if system {
        (
            "System-managed secrets:\n",
            "No system-managed secrets found\n",
        )
    } else {
        ("Available secrets:\n", "No secrets found\n")
    };
    if rows.is_empty() {
        return none.to_owned();
    }
    let mut text = heading.to_owned();
    for row in rows {
        text.extend(["  - ".to_owned(), one_line(&row.key)]);
        if let Some(scope) = &row.scope {
            text.extend(["  [", scope, "]"]);
        }
        if let Some(description) = &row.description {
            text.extend([" (".to_owned(), one_line(description), ")".to_owned()]);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, description: Option<&str>, scope: Option<&str>) -> Row {
        Row {
            key: key.to_owned(),
            description: description.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn lists_read_as_those_of_the_go_program() {
        let user = [
            row("API_KEY", None, None),
            row("op://v/i/f", Some("Work :: Key :: password"), None),
            row("a\u{1b}[2J", None, None),
        ];
        assert_eq!(
            text(&user, false),
            "Available secrets:\n  - API_KEY\n  - op://v/i/f (Work :: Key :: password)\n  - a[2J\n"
        );
        let system = [row("__thv_registry_x", None, Some("registry"))];
        assert_eq!(
            text(&system, true),
            "System-managed secrets:\n  - __thv_registry_x  [registry]\n"
        );
        assert_eq!(text(&[], false), "No secrets found\n");
        assert_eq!(text(&[], true), "No system-managed secrets found\n");
    }
}
