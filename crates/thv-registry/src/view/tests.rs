use serde_json::{Value, json};

use super::*;
use crate::{
    format::server::{ServerJson, read_server},
    json::to_vec,
};

fn server(value: &Value) -> ServerJson {
    let text = value.to_string();
    read_server(serde_json::from_str(&text).unwrap()).unwrap()
}

fn shown(view: &View) -> String {
    let bytes = match view {
        View::Container(image) => to_vec(image),
        View::Remote(remote) => to_vec(remote),
        View::Omitted(omission) => panic!("omitted: {omission}"),
    };
    String::from_utf8(bytes.unwrap()).unwrap()
}

/// The worked example of the contract.
fn notes() -> Value {
    json!({
        "name": "org.acme/notes", "description": "Notes store", "version": "2.4.1", "title": "Notes",
        "repository": {"url": "https://git.acme.test/notes", "source": "gitlab"},
        "packages": [
            {"registryType": "npm", "identifier": "@acme/notes", "version": "2.4.1", "transport": {"type": "stdio"}},
            {"registryType": "oci", "identifier": "reg.acme.test/notes:2.4.1",
             "transport": {"type": "streamable-http", "url": "http://localhost:7000/mcp"},
             "environmentVariables": [{"name": "NOTES_DIR", "default": "/data"}],
             "runtimeArguments": [{"type": "named", "name": "-e", "value": "NOTES_KEY={key}", "isRequired": true,
                                   "variables": {"key": {"isSecret": true}}}],
             "packageArguments": [{"type": "named", "name": "--level", "value": "info"},
                                  {"type": "positional", "value": "serve"}]}],
        "_meta": {"io.modelcontextprotocol.registry/publisher-provided": {"io.github.stacklok": {
            "reg.acme.test/notes:2.4.1": {"status": "active", "tier": "Community", "tools": ["add"],
                                          "args": ["ignored"], "metadata": {"stars": 7}}}}}
    })
}

#[test]
fn the_worked_example_of_the_contract_is_met_byte_for_byte() {
    assert_eq!(
        shown(&project(&server(&notes()), false)),
        concat!(
            r#"{"name":"org.acme/notes","title":"Notes","description":"Notes store","tier":"Community","status":"active","#,
            r#""transport":"streamable-http","tools":["add"],"metadata":{"stars":7},"#,
            r#""repository_url":"https://git.acme.test/notes","image":"reg.acme.test/notes:2.4.1","target_port":7000,"#,
            r#""env_vars":[{"name":"NOTES_DIR","description":"","required":false,"default":"/data"},"#,
            r#"{"name":"NOTES_KEY","description":"","required":true,"secret":true}],"#,
            r#""args":["--level","info","serve"]}"#,
        )
    );
}

#[test]
fn without_an_extension_tools_is_null_and_tier_and_status_are_there() {
    let image = server(&json!({
        "name": "a/b", "packages": [{"registryType": "oci", "identifier": "i:1", "transport": {"type": "stdio"}}]
    }));
    assert_eq!(
        shown(&project(&image, false)),
        r#"{"name":"a/b","description":"","tier":"","status":"","transport":"stdio","tools":null,"image":"i:1"}"#
    );
    assert!(shown(&project(&image, true)).contains(r#""status":"Deprecated""#));
}

#[test]
fn a_remote_hides_packages_and_only_the_first_counts() {
    let mut both = notes();
    both["remotes"] = json!([
        {"type": "sse", "url": "https://acme.test/{tenant}/sse", "headers": [
            {"name": "X-Key", "description": "key", "isRequired": true, "isSecret": true, "choices": ["a", "b"], "value": "lost"}]},
        {"type": "streamable-http", "url": "https://acme.test/mcp"}
    ]);
    both["_meta"]["io.modelcontextprotocol.registry/publisher-provided"]["io.github.stacklok"] = json!({
        "https://acme.test/mcp": {"tier": "Official"},
        "https://acme.test/{tenant}/sse": {"status": "active", "stateless": true, "proxy_port": 8080,
            "oauth_config": {"issuer": "https://id.test", "use_pkce": true, "oauth_params": {"b": "2", "a": "1"}},
            "env_vars": [{"name": "E", "description": "d", "required": true}]}
    });
    assert_eq!(
        shown(&project(&server(&both), false)),
        concat!(
            r#"{"name":"org.acme/notes","title":"Notes","description":"Notes store","tier":"","status":"active","#,
            r#""transport":"sse","stateless":true,"tools":null,"repository_url":"https://git.acme.test/notes","#,
            r#""url":"https://acme.test/{tenant}/sse","proxy_port":8080,"#,
            r#""headers":[{"name":"X-Key","description":"key","required":true,"secret":true,"choices":["a","b"]}],"#,
            r#""oauth_config":{"issuer":"https://id.test","use_pkce":true,"oauth_params":{"a":"1","b":"2"}},"#,
            r#""env_vars":[{"name":"E","description":"d","required":true}]}"#,
        )
    );
}

#[test]
fn runtime_arguments_give_variables_by_the_rules_of_the_go_program() {
    let image = server(
        &json!({"name": "a/b", "packages": [{"registryType": "oci", "identifier": "i", "runtimeArguments": [
            {"type": "named", "name": "--env", "value": "PLAIN=x=y", "description": "d"},
            {"type": "named", "name": "-e", "value": "KNOWN={k}", "variables": {"k": {"default": "v"}}},
            {"type": "named", "name": "-e", "value": "UNKNOWN={k}"},
            {"type": "named", "name": "-e", "value": "MIXED=a{k}"},
            {"type": "named", "name": "-e", "value": "NO_SIGN"},
            {"type": "named", "name": "-v", "value": "/a=/b"},
            {"type": "positional", "name": "-e", "value": "P=1"}
        ]}]}),
    );
    let View::Container(image) = project(&image, false) else {
        panic!("not a container")
    };
    let variables: Vec<(&str, &str)> = image
        .env_vars
        .iter()
        .map(|variable| (variable.name.as_str(), variable.default.as_str()))
        .collect();
    assert_eq!(
        variables,
        [
            ("PLAIN", "x=y"),
            ("KNOWN", "v"),
            ("UNKNOWN", ""),
            ("MIXED", "a{k}")
        ]
    );
    assert_eq!(image.env_vars.first().unwrap().description, "d");
}

#[test]
fn the_extension_gives_the_arguments_when_the_package_has_none() {
    let mut bare = notes();
    bare["packages"][1]["packageArguments"] = json!([]);
    let View::Container(image) = project(&server(&bare), false) else {
        panic!("not a container")
    };
    assert_eq!(image.args, ["ignored"]);
}

fn with_packages(packages: &Value) -> View {
    project(
        &server(&json!({"name": "a/b", "packages": packages})),
        false,
    )
}

fn image_at(url: &str) -> Value {
    json!([{"registryType": "oci", "identifier": "i", "transport": {"type": "sse", "url": url}}])
}

#[test]
fn w28_every_omission_is_typed() {
    let oci = json!({"registryType": "oci", "identifier": "i", "transport": {"type": "stdio"}});
    let cases = [
        (
            json!([]),
            Omission::NoPackageOrRemote,
            "has neither a package nor a remote",
        ),
        (
            json!([{"registryType": "pypi"}, {"registryType": "npm"}, {"registryType": "npm"}]),
            Omission::NoContainer {
                registry_types: vec!["npm".to_owned(), "pypi".to_owned()],
            },
            "has no container image, only npm, pypi",
        ),
        (
            json!([oci, oci, {"registryType": "npm"}]),
            Omission::SeveralContainers { count: 2 },
            "has 2 container images where one is expected",
        ),
        (
            image_at("http://localhost:{port}/mcp"),
            Omission::UnreadablePort {
                url: "http://localhost:{port}/mcp".to_owned(),
            },
            "has a container URL whose port cannot be read: http://localhost:{port}/mcp",
        ),
    ];
    for (packages, expected, words) in cases {
        assert_eq!(expected.to_string(), words);
        assert_eq!(with_packages(&packages), View::Omitted(expected));
    }
}

#[test]
fn an_omission_names_a_url_without_its_secrets() {
    let url = "http://user:hunter2@localhost:{port}/mcp?token=hunter2#hunter2".to_owned();
    let words = Omission::UnreadablePort { url }.to_string();
    assert!(words.ends_with(": http://localhost:{port}/mcp"), "{words}");
}

#[test]
fn the_port_of_a_container_url_is_found_or_refused() {
    let readable = [
        ("", None),
        ("http://localhost", None),
        ("http://localhost:/mcp", None),
        ("http://localhost:8080", Some(8080)),
        ("http://user:secret@localhost:81?x=:9", Some(81)),
        ("http://[::1]:82/a:b", Some(82)),
        ("http://[::1]/", None),
        ("http://{host}:83/{path}", Some(83)),
        ("{base}/mcp", None),
    ];
    for (url, expected) in readable {
        let View::Container(image) = with_packages(&image_at(url)) else {
            panic!("{url} was refused")
        };
        assert_eq!(image.target_port, expected, "{url}");
    }
    for url in [
        "http://localhost:port",
        "http://localhost:65536",
        "http://localhost:-1",
        "http://localhost:80 80/",
    ] {
        assert!(
            matches!(
                with_packages(&image_at(url)),
                View::Omitted(Omission::UnreadablePort { .. })
            ),
            "{url}"
        );
    }
}

#[test]
fn tags_are_found_for_servers_that_no_view_shows() {
    let npm = server(&json!({
        "name": "a/b", "packages": [{"registryType": "npm", "identifier": "@a/b"}],
        "_meta": {"io.modelcontextprotocol.registry/publisher-provided": {"io.github.stacklok": {
            "x": {"tags": ["wrong"]}, "@a/b": {"tags": ["notes"]}}}}
    }));
    assert_eq!(tags(&npm), ["notes"]);
    assert_eq!(tags(&server(&json!({"name": "a/b"}))), Vec::<String>::new());
}

#[test]
fn both_shapes_read_back_what_they_wrote() {
    let View::Container(image) = project(&server(&notes()), true) else {
        panic!("not a container")
    };
    let text = serde_json::to_string(&image).unwrap();
    assert_eq!(
        serde_json::from_str::<ImageMetadata>(&text).unwrap(),
        *image
    );
    let catalog =
        format!(r#"{{"version":"1","last_updated":"t","servers":{{"n":{text}}},"groups":null}}"#);
    let registry: Registry = serde_json::from_str(&catalog).unwrap();
    assert_eq!(registry.servers.get("n"), Some(&*image));
    assert!(serde_json::from_str::<ImageMetadata>("[]").is_err());
}
