//! `thv doctor`: every condition of a login and of reading the registry, with what was seen and what to type. What is looked
//! at and how it is judged is `thv_auth::doctor`'s; this lays it out.

use std::sync::Arc;

use thv_api::discovery::Discovery;
use thv_auth::doctor::{Check, Diagnosis, Outcome};
use thv_config::world::World;

use super::version::{VERSION, platform};
use crate::failure::CommandError;
use crate::output::table::wrap;
use crate::output::{Output, json};
use crate::running_server::RunningServer;
use crate::wire_up;

/// Width of the first column: the longest word and its gap.
const OUTCOME_WIDTH: usize = 9;

pub(super) async fn run(
    as_json: bool,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let (paths, auth) = wire_up::looking(world).await?;
    let discovery = Discovery::new(paths.server_record(), Arc::clone(&world.clock));
    let work = async {
        tokio::join!(
            auth.diagnose(thv_registry::question_url),
            discovery.check(),
            server_version(world, &paths),
        )
    };
    let (found, server, version) =
        super::registry::patiently("Looking", world, output, Box::pin(work)).await;
    let program = Check::ok(
        "program.version",
        format!("thv {VERSION} on {}", platform()),
    );
    let diagnosis = Diagnosis::of(found.checked_at, vec![program]).with(found.checks);
    let diagnosis = diagnosis.with([server]).with(version);
    if as_json {
        output.print(json::pretty(&diagnosis).map_err(CommandError::encode)?)?;
    } else {
        output.print(text(&diagnosis, output.width()))?;
    }
    if diagnosis.has_failed() {
        Err(CommandError::Unhealthy)
    } else {
        Ok(())
    }
}

/// Whether the server that runs is this program, or what was installed before it.
async fn server_version(world: &World, paths: &thv_config::Paths) -> Option<Check> {
    const ID: &str = "server.version";
    let server = RunningServer::find(world, paths).await.ok()??;
    Some(match server.version().await {
        Ok(version) if version == VERSION => {
            Check::ok(ID, format!("it is thv {version}, as this is"))
        }
        Ok(version) => Check::warning(
            ID,
            format!("it is thv {version}, and this is {VERSION}"),
            "stop the server and start it again",
        ),
        Err(error) => Check::skipped(ID, error.to_string()),
    })
}

fn text(diagnosis: &Diagnosis, width: usize) -> String {
    let mut text = String::new();
    for check in &diagnosis.checks {
        let outcome = format!("{:<OUTCOME_WIDTH$}", check.outcome.as_str());
        text.extend([outcome.as_str(), check.id, "\n"]);
        text.push_str(&wrap(&check.evidence, OUTCOME_WIDTH, width));
        if let Some(fix) = &check.fix {
            text.push_str(&wrap(&format!("To do: {fix}"), OUTCOME_WIDTH, width));
        }
    }
    text.push('\n');
    text.push_str(&summary(diagnosis));
    text
}

fn summary(diagnosis: &Diagnosis) -> String {
    let count = |outcome| {
        let checks = diagnosis.checks.iter();
        checks.filter(|check| check.outcome == outcome).count()
    };
    let counted = [
        Outcome::Failed,
        Outcome::Warning,
        Outcome::Ok,
        Outcome::Skipped,
    ]
    .map(|outcome| format!("{} {}", count(outcome), outcome.as_str()));
    format!("{}\n", counted.join(", "))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn each_check_has_its_evidence_and_its_fix_below_it() {
        let diagnosis = Diagnosis::of(
            Timestamp::UNIX_EPOCH,
            vec![
                Check::ok("config.file", "/home/ann/config.yaml"),
                Check::failed(
                    "issuer.identity",
                    "configured `https://id.example`, the document says `https://id.example/tenant`",
                    "thv registry login --issuer URL",
                ),
                Check::skipped("registry.token", "there is no token that is good now"),
            ],
        );
        insta::assert_snapshot!(text(&diagnosis, 60), @r"
        ok       config.file
                 /home/ann/config.yaml
        failed   issuer.identity
                 configured `https://id.example`, the document says
                 `https://id.example/tenant`
                 To do: thv registry login --issuer URL
        skipped  registry.token
                 there is no token that is good now

        1 failed, 0 warning, 1 ok, 1 skipped
        ");
    }
}
