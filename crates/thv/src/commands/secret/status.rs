//! `thv secret status`: which store keeps the secrets and why, where its key is, and whether it works. Nothing
//! of a secret is shown but how many there are.

use serde::Serialize;
use thv_config::world::World;
use thv_secrets::select::DISABLE_FALLBACK_VARIABLE;
use thv_secrets::{Patience, SecretsError, StoreKind, StoreReport, UserSecrets};

use crate::failure::CommandError;
use crate::output::table::one_line;
use crate::output::{Output, json};

#[derive(Serialize)]
struct Report {
    provider: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    usable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secrets: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_secrets: Option<usize>,
    environment_stands_in: bool,
    #[serde(skip)]
    described_form: Option<String>,
}

pub(super) fn run(
    secrets: &UserSecrets,
    as_json: bool,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let described = secrets.secrets().describe()?;
    let looked = look(secrets, described.kind);
    let stands_in = described.kind != StoreKind::Environment
        && world.env.var(DISABLE_FALLBACK_VARIABLE).as_deref() != Some("true");
    let report = Report::new(secrets, &described, &looked, stands_in);
    if as_json {
        output.print(json::pretty(&report).map_err(CommandError::encode)?)?;
    } else {
        output.print(report.text())?;
    }
    // All is told either way; the exit code tells a script whether the store works.
    looked.map(drop).map_err(CommandError::from)
}

/// How many secrets there are, of the user and of the system.
fn look(
    secrets: &UserSecrets,
    kind: StoreKind,
) -> Result<(Option<usize>, Option<usize>), SecretsError> {
    match kind {
        StoreKind::Environment => Ok((None, None)),
        StoreKind::OnePassword => Ok((Some(secrets.list()?.len()), None)),
        StoreKind::Encrypted => Ok((
            Some(secrets.list()?.len()),
            Some(secrets.list_system()?.len()),
        )),
    }
}

impl Report {
    fn new(
        secrets: &UserSecrets,
        described: &StoreReport,
        looked: &Result<(Option<usize>, Option<usize>), SecretsError>,
        environment_stands_in: bool,
    ) -> Self {
        let key = described.key.as_ref().map(|source| {
            let place = secrets.secrets().key_place(Patience::Login);
            place.map_or_else(|_| source.describe(), |place| place.described)
        });
        let (user, system) = looked.as_ref().map_or((None, None), |counts| *counts);
        Self {
            provider: described.kind.as_str(),
            why: described.why.map(thv_secrets::select::Why::describe),
            file: described
                .file
                .as_ref()
                .map(|path| path.display().to_string()),
            size_bytes: described.content.map(|(size, _)| size),
            form: described.content.map(|(_, form)| form.number()),
            described_form: described.content.map(|(_, form)| form.to_string()),
            key,
            usable: looked.is_ok(),
            problem: looked.as_ref().err().map(ToString::to_string),
            secrets: user,
            system_secrets: system,
            environment_stands_in,
        }
    }

    fn text(&self) -> String {
        let mut rows = Vec::new();
        rows.push((
            "Provider",
            match self.why {
                Some(why) => format!("{} ({why})", self.provider),
                None => self.provider.to_owned(),
            },
        ));
        if let Some(file) = &self.file {
            // Beside 1Password it is only the program's own secrets that are kept there.
            let label = if self.provider == StoreKind::OnePassword.as_str() {
                "Logins"
            } else {
                "File"
            };
            rows.push((label, file.clone()));
        }
        if let (Some(form), Some(size)) = (&self.described_form, self.size_bytes) {
            rows.push(("Form", format!("{form}, {size} bytes")));
        }
        if let Some(key) = &self.key {
            rows.push(("Key", key.clone()));
        }
        rows.push(("State", self.state()));
        if self.environment_stands_in {
            rows.push((
                "Also",
                "variables TOOLHIVE_SECRET_<name> stand in for what is not there".to_owned(),
            ));
        }
        let mut text = String::new();
        for (label, value) in rows {
            let label = format!("{label}:");
            text.extend([format!("{label:<10}"), one_line(&value), "\n".to_owned()]);
        }
        text
    }

    fn state(&self) -> String {
        let mut parts = vec![
            if self.usable {
                "usable"
            } else {
                "cannot be used"
            }
            .to_owned(),
        ];
        let counted = |count: usize, what: &str| match count {
            1 => format!("1 secret {what}"),
            _ => format!("{count} secrets {what}"),
        };
        parts.extend(self.secrets.map(|count| counted(count, "of yours")));
        parts.extend(
            self.system_secrets
                .map(|count| counted(count, "of the program")),
        );
        parts.join(", ")
    }
}
