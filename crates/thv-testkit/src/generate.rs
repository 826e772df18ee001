//! Catalogs of any size, the same for the same seed: server documents with the mix, the lengths and the oddities
//! seen in the public registry in 2026, each with the registry's own metadata.
//!
//! Here live the documents only; serving them is `registry`'s work.

use serde_json::{Map, Value, json};

/// The key of the registry's own metadata in an envelope.
pub const OFFICIAL: &str = "io.modelcontextprotocol.registry/official";
/// The key under which publishers put their own metadata into a server document.
pub const PUBLISHER: &str = "io.modelcontextprotocol.registry/publisher-provided";
/// The schema every generated document names.
pub const SCHEMA: &str =
    "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json";

/// 2025-09-10T00:00:00Z: the first generated server was published then.
const FIRST_PUBLISHED: i64 = 1_757_462_400;
/// Seconds between two publications.
const PUBLISH_STEP: i64 = 180;

/// One row of a registry: a server document and what the registry says about it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The document's `name`.
    pub name: String,
    /// The document's `version`.
    pub version: String,
    /// The document, as the publisher sent it.
    pub server: Value,
    /// `active`, `deprecated` or `deleted`.
    pub status: String,
    /// When this version came in (RFC 3339).
    pub published_at: String,
    /// When anything about this row last changed (RFC 3339).
    pub updated_at: String,
    /// Whether this is the version an unqualified request means.
    pub is_latest: bool,
}

impl Row {
    /// A current, active row around `server`, which must have a name and a version.
    pub fn of(server: Value, updated_at: &str) -> Self {
        let text = |key: &str| server[key].as_str().unwrap_or_default().to_owned();
        Row {
            name: text("name"),
            version: text("version"),
            status: "active".to_owned(),
            published_at: updated_at.to_owned(),
            updated_at: updated_at.to_owned(),
            is_latest: true,
            server,
        }
    }

    /// The registry's answer for this row: `{"server":…,"_meta":…}`.
    pub fn envelope(&self) -> Value {
        json!({
            "server": self.server,
            "_meta": { OFFICIAL: {
                "status": self.status,
                "publishedAt": self.published_at,
                "updatedAt": self.updated_at,
                "isLatest": self.is_latest,
            }},
        })
    }
}

/// The time `steps` publications after the first one (RFC 3339, UTC).
pub fn moment(steps: usize) -> String {
    let seconds = FIRST_PUBLISHED
        + PUBLISH_STEP * i64::try_from(steps).expect("a plausible number of servers");
    jiff::Timestamp::from_second(seconds)
        .expect("a date in this century")
        .to_string()
}

/// `count` servers with all their versions. One in ten has older versions, one in fifty is deprecated and
/// one in a hundred deleted, so there are somewhat more rows than servers.
pub fn servers(count: usize, seed: u64) -> Vec<Row> {
    let mut dice = Dice::new(seed);
    let mut rows = Vec::with_capacity(count + count / 5);
    for index in 0..count {
        push_server(&mut rows, &mut dice, index);
    }
    rows
}

/// `count` skills in the `ToolHive` extension's form.
pub fn skills(count: usize, seed: u64) -> Vec<Value> {
    let mut dice = Dice::new(seed ^ 0x5115);
    (0..count)
        .map(|index| {
            let topic = dice.pick(TOPICS);
            json!({
                "namespace": format!("io.github.{}", dice.pick(PUBLISHERS)),
                "name": format!("{topic}-skill-{index:03}"),
                "description": sentence(&mut dice, 90),
                "version": format!("1.{}.0", dice.below(20)),
                "status": "active",
                "repository": {"url": format!("https://github.com/example/{topic}-skill-{index:03}"), "type": "git"},
                "packages": [{"registryType": "oci", "identifier": format!("ghcr.io/example/{topic}-skill-{index:03}:1.0.0")}],
            })
        })
        .collect()
}

/// `count` plugins in the `ToolHive` extension's form.
pub fn plugins(count: usize, seed: u64) -> Vec<Value> {
    let mut dice = Dice::new(seed ^ 0x9179);
    (0..count)
        .map(|index| {
            let topic = dice.pick(TOPICS);
            json!({
                "namespace": format!("io.github.{}", dice.pick(PUBLISHERS)),
                "name": format!("{topic}-plugin-{index:03}"),
                "description": sentence(&mut dice, 70),
                "version": "0.2.0",
                "packages": [{"registryType": "git", "url": format!("https://github.com/example/{topic}-plugin-{index:03}"), "ref": "main"}],
            })
        })
        .collect()
}

/// The catalog as one file in the upstream registry format: the latest, undeleted version of each server.
pub fn document(rows: &[Row], skills: &[Value], plugins: &[Value]) -> Value {
    let servers: Vec<&Value> = rows
        .iter()
        .filter(|row| row.is_latest && row.status != "deleted")
        .map(|row| &row.server)
        .collect();
    json!({
        "$schema": "https://raw.githubusercontent.com/stacklok/toolhive-core/main/registry/types/data/upstream-registry.schema.json",
        "version": "1.2.3",
        "meta": {"last_updated": moment(rows.len())},
        "data": {"servers": servers, "skills": skills, "plugins": plugins},
    })
}

fn push_server(rows: &mut Vec<Row>, dice: &mut Dice, index: usize) {
    let topic = dice.pick(TOPICS);
    let publisher = dice.pick(PUBLISHERS);
    let name = match dice.below(10) {
        0 => format!("com.{publisher}/{topic}-{index}"),
        1 => format!("ai.{publisher}.mcp/{topic}_{index}"),
        _ => format!("io.github.{publisher}/{topic}-mcp-{index}"),
    };
    let versions = if dice.below(10) == 0 {
        2 + dice.below(3)
    } else {
        1
    };
    let status = match dice.below(100) {
        0 => "deleted",
        1 | 2 => "deprecated",
        _ => "active",
    };
    let major = dice.below(4);
    for number in 0..versions {
        let version = format!("{major}.{number}.{}", dice.below(12));
        let server = server_document(dice, &name, &version, topic, index);
        let published_at = moment(index);
        rows.push(Row {
            name: name.clone(),
            version,
            server,
            status: status.to_owned(),
            updated_at: published_at.clone(),
            published_at,
            is_latest: number + 1 == versions,
        });
    }
}

fn server_document(dice: &mut Dice, name: &str, version: &str, topic: &str, index: usize) -> Value {
    let mut server = Map::new();
    server.insert("$schema".into(), SCHEMA.into());
    server.insert("name".into(), name.into());
    let length = 30 + dice.below(60);
    server.insert("description".into(), sentence(dice, length).into());
    if dice.below(3) == 0 {
        let title = match dice.below(8) {
            0 => format!("{topic} · Übersicht № {index}"),
            1 => format!("{topic} 検索サーバー {index}"),
            2 => format!("{topic} 🚀 {index}"),
            _ => format!("{topic} server {index}"),
        };
        server.insert("title".into(), title.into());
    }
    let slug = name.rsplit('/').next().unwrap_or(name).to_owned();
    match dice.below(10) {
        0 => {
            server.insert("repository".into(), json!({}));
        }
        1 | 2 => {}
        _ => {
            server.insert(
                "repository".into(),
                json!({"url": format!("https://github.com/example/{slug}"), "source": "github", "id": format!("{}", 700_000_000 + index)}),
            );
        }
    }
    server.insert("version".into(), version.into());
    if dice.below(4) == 0 {
        server.insert(
            "websiteUrl".into(),
            format!("https://{slug}.example.com/docs?a=1&b=<2>").into(),
        );
    }
    if dice.below(6) == 0 {
        server.insert(
            "icons".into(),
            json!([{"src": format!("https://{slug}.example.com/icon.png"), "mimeType": "image/png", "sizes": ["48x48", "any"]}]),
        );
    }
    add_ways_to_run(dice, &mut server, &slug, version);
    if dice.below(5) == 0 {
        let (slug, topic) = (slug.as_str(), topic);
        add_publisher_meta(dice, &mut server, slug, topic);
    }
    Value::Object(server)
}

/// What the public registry holds: mostly remotes and npm packages, few images, some entries with nothing at all.
fn add_ways_to_run(dice: &mut Dice, server: &mut Map<String, Value>, slug: &str, version: &str) {
    let roll = dice.below(100);
    let remote = |dice: &mut Dice| {
        json!([{
            "type": if dice.below(4) == 0 { "sse" } else { "streamable-http" },
            "url": format!("https://{slug}.example.com/mcp"),
            "headers": [{"name": "Authorization", "description": "Bearer token of your account", "isRequired": true, "isSecret": true}],
        }])
    };
    match roll {
        0..45 => {
            server.insert("remotes".into(), remote(dice));
        }
        45..76 => {
            server.insert("packages".into(), json!([npm(dice, slug, version)]));
        }
        76..88 => {
            server.insert("packages".into(), json!([pypi(dice, slug, version)]));
        }
        88..92 => {
            server.insert("packages".into(), json!([oci(dice, slug, version)]));
        }
        92..94 => {
            server.insert("packages".into(), json!([mcpb(slug, version)]));
        }
        94..97 => {
            server.insert(
                "packages".into(),
                json!([npm(dice, slug, version), oci(dice, slug, version)]),
            );
        }
        97 => {
            server.insert("packages".into(), json!([npm(dice, slug, version)]));
            server.insert("remotes".into(), remote(dice));
        }
        98 => {
            server.insert(
                "packages".into(),
                json!([
                    oci(dice, slug, version),
                    oci(dice, &format!("{slug}-slim"), version)
                ]),
            );
        }
        _ => {}
    }
}

fn environment(dice: &mut Dice) -> Value {
    let count = dice.below(4);
    let variables: Vec<Value> = (0..count)
        .map(|number| {
            json!({
                "name": format!("{}_{}", dice.pick(TOPICS).to_uppercase(), ["API_KEY", "BASE_URL", "TIMEOUT"][number]),
                "description": sentence(dice, 45),
                "format": "string",
                "isRequired": number == 0,
                "isSecret": number == 0,
            })
        })
        .collect();
    Value::Array(variables)
}

fn npm(dice: &mut Dice, slug: &str, version: &str) -> Value {
    json!({
        "registryType": "npm", "registryBaseUrl": "https://registry.npmjs.org", "identifier": format!("@example/{slug}"),
        "version": version, "runtimeHint": "npx", "transport": {"type": "stdio"},
        "packageArguments": [{"type": "positional", "value": "serve"}],
        "environmentVariables": environment(dice),
    })
}

fn pypi(dice: &mut Dice, slug: &str, version: &str) -> Value {
    json!({
        "registryType": "pypi", "registryBaseUrl": "https://pypi.org", "identifier": format!("{slug}-server"),
        "version": version, "runtimeHint": "uvx", "transport": {"type": "stdio"},
        "environmentVariables": environment(dice),
    })
}

fn oci(dice: &mut Dice, slug: &str, version: &str) -> Value {
    let transport = if dice.below(2) == 0 {
        json!({"type": "stdio"})
    } else {
        json!({"type": "streamable-http", "url": format!("http://localhost:{}/mcp", 3000 + dice.below(6000))})
    };
    json!({
        "registryType": "oci", "identifier": format!("ghcr.io/example/{slug}:{version}"), "transport": transport,
        "environmentVariables": environment(dice),
    })
}

fn mcpb(slug: &str, version: &str) -> Value {
    json!({
        "registryType": "mcpb", "transport": {"type": "stdio"},
        "identifier": format!("https://github.com/example/{slug}/releases/download/v{version}/{slug}.mcpb"),
        "fileSha256": "fe333e598595000ae021bd27117db32ec69af6987f507ba7a63c90638ff633ce",
    })
}

fn add_publisher_meta(dice: &mut Dice, server: &mut Map<String, Value>, slug: &str, topic: &str) {
    let key = ["packages", "remotes"].iter().find_map(|list| {
        let first = server.get(*list)?.as_array()?.first()?;
        first
            .get("url")
            .or_else(|| first.get("identifier"))?
            .as_str()
            .map(str::to_owned)
    });
    let Some(key) = key else { return };
    let tools: Vec<String> = (0..2 + dice.below(6))
        .map(|number| format!("{}_{topic}_{number}", dice.pick(VERBS)))
        .collect();
    let extension = json!({
        "status": if dice.below(20) == 0 { "Deprecated" } else { "Active" },
        "tier": if dice.below(4) == 0 { "Official" } else { "Community" },
        "tools": tools,
        "tags": [topic, "example"],
        "overview": format!("## {slug}\n\n{}", sentence(dice, 200)),
        "metadata": {"stars": dice.below(9000), "last_updated": "2026-08-01T00:00:00Z"},
    });
    server.insert(
        "_meta".into(),
        json!({PUBLISHER: {"io.github.stacklok": {key: extension}}}),
    );
}

/// Words up to about `length` characters, never more than 100: the published limit of a description.
fn sentence(dice: &mut Dice, length: usize) -> String {
    let mut text = String::new();
    while text.chars().count() < length {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(dice.pick(WORDS));
    }
    if length <= 100 {
        text.chars().take(100).collect()
    } else {
        text
    }
}

/// A small repeatable random source (splitmix64): the same on every machine and in every release.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a small limit");
        usize::try_from(self.next() % limit).expect("below a usize")
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

const TOPICS: &[&str] = &[
    "calendar",
    "weather",
    "postgres",
    "github",
    "search",
    "browser",
    "email",
    "notes",
    "maps",
    "finance",
    "slack",
    "kubernetes",
    "files",
    "images",
    "music",
    "translate",
    "vector",
    "tickets",
    "logs",
    "recipes",
];
const PUBLISHERS: &[&str] = &[
    "acme",
    "octo-labs",
    "north-wind",
    "hexagon",
    "bluebird",
    "lantern",
    "quarry",
    "riverbank",
    "stonefly",
    "tangent",
    "umbra",
    "vela",
];
const VERBS: &[&str] = &["get", "list", "create", "update", "delete", "search"];
const WORDS: &[&str] = &[
    "reads",
    "writes",
    "data",
    "from",
    "your",
    "account",
    "for",
    "agents",
    "with",
    "safe",
    "defaults",
    "and",
    "fast",
    "lookups",
    "across",
    "projects",
    "naïve",
    "façade",
    "tools",
    "that",
    "keep",
    "context",
    "small",
    "<b>bold</b>",
    "R&D",
    "日本語",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_catalog() {
        let first: Vec<Value> = servers(200, 7).iter().map(Row::envelope).collect();
        let second: Vec<Value> = servers(200, 7).iter().map(Row::envelope).collect();
        assert_eq!(first, second);
        let other: Vec<Value> = servers(200, 8).iter().map(Row::envelope).collect();
        assert_ne!(first, other);
    }

    #[test]
    fn sizes_and_mix_are_like_the_public_registry() {
        let rows = servers(2000, 1);
        let bytes: usize = rows
            .iter()
            .map(|row| row.envelope().to_string().len())
            .sum();
        let average = bytes / rows.len();
        assert!(
            (750..1250).contains(&average),
            "an entry has {average} bytes on average"
        );
        let share = |wanted: &dyn Fn(&Row) -> bool| {
            rows.iter().filter(|row| wanted(row)).count() * 100 / rows.len()
        };
        assert!((38..55).contains(&share(&|row| row.server.get("remotes").is_some())));
        assert!(share(&|row| row.status == "deprecated") >= 1);
        assert!(rows.iter().any(|row| row.status == "deleted"));
        assert!(rows.iter().any(|row| !row.is_latest));
    }

    #[test]
    fn every_server_has_exactly_one_latest_version() {
        let rows = servers(500, 3);
        let mut names: Vec<&str> = rows
            .iter()
            .filter(|row| row.is_latest)
            .map(|row| row.name.as_str())
            .collect();
        assert_eq!(names.len(), 500);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 500);
    }
}
