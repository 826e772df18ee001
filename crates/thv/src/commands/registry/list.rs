//! `thv registry list`: every server of the catalog, one line each, or as a JSON array.

use thv_config::world::World;
use thv_registry::{Entry, Revalidation};

use crate::commands::server_text::{Row, array};
use crate::failure::CommandError;
use crate::output::table::{self, Column, Fit};
use crate::output::{HEADING, Output};
use crate::wire_up;

const COLUMNS: [Column; 5] = [
    Column {
        head: "NAME",
        fit: Fit::Name,
    },
    Column {
        head: "TYPE",
        fit: Fit::Whole,
    },
    Column {
        head: "DESCRIPTION",
        fit: Fit::Prose,
    },
    Column {
        head: "TIER",
        fit: Fit::Whole,
    },
    Column {
        head: "STARS",
        fit: Fit::Number,
    },
];

pub(super) async fn run(
    as_json: bool,
    refresh: bool,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let served = super::catalog(&catalogs, refresh, world, output).await?;
    let entries = served.snapshot.entries();
    if as_json {
        output.print(array(entries.iter().map(|entry| &**entry)))?;
    } else if entries.is_empty() {
        output.print("The registry has no servers.\n")?;
    } else {
        output.print(text_of(
            entries.iter().map(|entry| &**entry),
            output.width(),
        ))?;
    }
    Ok(())
}

fn text_of<'a>(entries: impl Iterator<Item = &'a Entry>, width: usize) -> String {
    let rows: Vec<[String; 5]> = entries
        .map(Row::of)
        .map(|row| {
            [
                row.name,
                row.kind.to_owned(),
                row.description,
                row.tier,
                row.stars,
            ]
        })
        .collect();
    table::render(&COLUMNS, &rows, width, HEADING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::server_text::samples::{CONTAINER, NPM, entry};

    #[test]
    fn the_text_has_the_contract_columns() {
        let entries = [entry(CONTAINER), entry(NPM)];
        let text = anstream::adapter::strip_str(&text_of(entries.iter(), 80)).to_string();
        assert_eq!(
            text,
            "NAME              TYPE       DESCRIPTION                   TIER       STARS\n\
             io.example/box    container  In a box                      -              -\n\
             io.example/files  npm        **DEPRECATED** Reads <files>  Community      -\n"
        );
    }
}
