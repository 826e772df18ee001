//! What the record says about the server that should run: a judgement over what was found, for `thv doctor`.

use std::io;
use std::path::Path;

use thv_auth::doctor::Check;

use super::State;
use super::record::Found;

/// Judges the record at `path` and who stands behind it.
pub(super) fn judge(path: &Path, found: &io::Result<Found>, state: State) -> Check {
    const ID: &str = "server.record";
    let path = path.display();
    let record = match found {
        Ok(Found::Record(record)) => record,
        Ok(Found::Nothing) => {
            return Check::skipped(ID, "no server of this user runs; `thv serve` starts one");
        }
        Err(error) => {
            return Check::failed(
                ID,
                format!("the server record {path} cannot be read: {error}"),
                format!("if no server runs: `rm {path}`"),
            );
        }
    };
    let server = format!(
        "the server at {} (PID {}, since {})",
        record.url, record.pid, record.started_at
    );
    match state {
        State::Running => Check::ok(ID, format!("{server} answers")),
        State::Silent => Check::failed(
            ID,
            format!("{server} does not answer, and its process is there"),
            format!("kill {}", record.pid),
        ),
        State::Vacant => Check::warning(
            ID,
            format!("{server} is gone and has left its record {path}"),
            "`thv serve` replaces it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use thv_auth::doctor::Outcome;

    use super::super::Record;
    use super::*;

    #[test]
    fn a_server_is_judged_by_whether_it_answers() {
        let record = || {
            Ok(Found::Record(Record {
                url: "http://127.0.0.1:8080".to_owned(),
                pid: 4711,
                nonce: "canary".to_owned(),
                started_at: "2026-11-25T12:00:00Z".to_owned(),
                token: None,
            }))
        };
        for (found, state, outcome) in [
            (Ok(Found::Nothing), State::Vacant, Outcome::Skipped),
            (record(), State::Running, Outcome::Ok),
            (record(), State::Silent, Outcome::Failed),
            (record(), State::Vacant, Outcome::Warning),
            (
                Err(io::Error::other("no JSON")),
                State::Vacant,
                Outcome::Failed,
            ),
        ] {
            let check = judge(Path::new("/s/server.json"), &found, state);
            assert_eq!(check.outcome, outcome, "{check:?}");
            assert!(!check.evidence.contains("canary"), "{check:?}");
        }
    }
}
