//! `thv registry refresh`: has the registry fetched now. A running server is asked, since its
//! catalog is the one that other programs see; without one the command fetches by itself and
//! leaves the result in the cache.

use serde::Serialize;
use thv_config::world::World;
use thv_registry::{DEFAULT_REGISTRY, Revalidation};

use crate::failure::CommandError;
use crate::output::{NOTICE, Output, json};
use crate::running_server::RunningServer;
use crate::wire_up::{self, Catalogs};

pub(super) async fn run(
    as_json: bool,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let done = match RunningServer::find(world, &catalogs.paths).await? {
        Some(server) => through(&server, &catalogs, world, output).await?,
        None => by_itself(&catalogs, world, output).await?,
    };
    if as_json {
        output.print(json::pretty(&done).map_err(CommandError::encode)?)?;
    } else {
        output.print(done.text())?;
    }
    Ok(())
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    status: &'static str,
    /// The server that fetched the registry; absent when the command did.
    #[serde(skip_serializing_if = "Option::is_none")]
    through: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<usize>,
}

impl Done {
    fn text(&self) -> String {
        match (&self.through, self.servers) {
            (Some(server), _) => format!("The server at {server} has fetched the registry.\n"),
            (None, Some(servers)) => format!("Fetched the registry: {servers} servers.\n"),
            (None, None) => "Fetched the registry.\n".to_owned(),
        }
    }
}

async fn through(
    server: &RunningServer,
    catalogs: &Catalogs,
    world: &World,
    output: &mut Output,
) -> Result<Done, CommandError> {
    let what = format!("Waiting for the server at {}", server.shown);
    match super::patiently(
        &what,
        world,
        output,
        Box::pin(server.refresh(DEFAULT_REGISTRY)),
    )
    .await
    {
        Ok(()) => Ok(Done {
            status: "refreshed",
            through: Some(server.shown.clone()),
            servers: None,
        }),
        // A server that is going down, or that does not let us in, does not stop us.
        Err(error @ CommandError::Ask { .. }) => {
            output.remark_styled(NOTICE, "Warning", &error.to_string());
            by_itself(catalogs, world, output).await
        }
        Err(error) => Err(error),
    }
}

async fn by_itself(
    catalogs: &Catalogs,
    world: &World,
    output: &mut Output,
) -> Result<Done, CommandError> {
    let served = super::catalog(catalogs, true, world, output).await?;
    Ok(Done {
        status: "refreshed",
        through: None,
        servers: Some(served.snapshot.entries().len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_who_fetched() {
        let own = Done {
            status: "refreshed",
            through: None,
            servers: Some(7),
        };
        assert_eq!(own.text(), "Fetched the registry: 7 servers.\n");
        assert_eq!(
            serde_json::to_string(&own).unwrap(),
            r#"{"status":"refreshed","servers":7}"#
        );
        let theirs = Done {
            status: "refreshed",
            through: Some("http://127.0.0.1:1".to_owned()),
            servers: None,
        };
        assert_eq!(
            theirs.text(),
            "The server at http://127.0.0.1:1 has fetched the registry.\n"
        );
    }
}
