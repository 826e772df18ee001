//! `thv search`: the servers whose name, description or tags contain a text.

use thv_config::world::World;
use thv_registry::{Entry, Revalidation, SearchIn};

use super::registry;
use super::server_text::{Row, array};
use crate::cli::SearchArgs;
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
        head: "TRANSPORT",
        fit: Fit::Whole,
    },
    Column {
        head: "STARS",
        fit: Fit::Number,
    },
];

pub(super) async fn run(
    args: &SearchArgs,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let served = registry::catalog(&catalogs, false, world, output).await?;
    let found = served
        .snapshot
        .search(&args.query, SearchIn::NameDescriptionTags);
    let entries: Vec<&Entry> = found.iter().map(|entry| &***entry).collect();
    if args.format.is_json() {
        output.print(array(entries.iter().copied()))?;
    } else {
        output.print(text(&entries, &args.query, output.width()))?;
    }
    Ok(())
}

fn text(entries: &[&Entry], query: &str, width: usize) -> String {
    let query = table::one_line(query);
    if entries.is_empty() {
        return format!("No servers found matching query: {query}\n");
    }
    let rows: Vec<[String; 5]> = entries
        .iter()
        .map(|entry| Row::of(entry))
        .map(|row| {
            [
                row.name,
                row.kind.to_owned(),
                row.description,
                row.transport,
                row.stars,
            ]
        })
        .collect();
    let table = table::render(&COLUMNS, &rows, width, HEADING);
    format!(
        "Found {} servers matching query: {query}\n{table}",
        entries.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::server_text::samples::{CONTAINER, entry};

    #[test]
    fn nothing_found_is_said_in_text() {
        assert_eq!(
            text(&[], "x\ny", 80),
            "No servers found matching query: x y\n"
        );
    }

    #[test]
    fn what_is_found_is_counted_and_has_its_transport() {
        let text = text(&[&entry(CONTAINER)], "box", 80);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Found 1 servers matching query: box");
        assert!(
            lines[1].contains("TRANSPORT") && lines[2].contains("stdio"),
            "{text}"
        );
    }
}
