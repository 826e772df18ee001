use jiff::Timestamp;

use super::*;
use crate::format::page;

fn entry(name: &str, package: &str) -> Arc<Entry> {
    let body = format!(
        r#"{{"server":{{"name":"{name}","description":"d","version":"1.0.0","packages":[{{"registryType":"{package}","identifier":"i.example/x:1","transport":{{"type":"stdio"}}}}]}}}}"#
    );
    let row = page::parse_server_response(body.as_bytes()).unwrap();
    Arc::new(Entry::from_row(&row, Timestamp::UNIX_EPOCH).unwrap())
}

fn snapshot(entries: Vec<Arc<Entry>>) -> Snapshot {
    Snapshot::new(Edition::default(), entries, Vec::new(), BTreeMap::new(), 0)
}

#[test]
fn a_short_name_leads_to_the_only_server_that_has_it() {
    let snapshot = snapshot(vec![entry("a/x", "oci"), entry("b/y", "npm")]);
    assert_eq!(snapshot.resolve("y").unwrap().name(), "b/y");
    assert_eq!(snapshot.resolve("a/x").unwrap().name(), "a/x");
    let missing = snapshot.resolve("z").unwrap_err();
    assert_eq!(missing.to_string(), "server not found: z");
}

#[test]
fn w32_several_servers_of_one_short_name_are_candidates() {
    let snapshot = snapshot(vec![entry("a/x", "oci"), entry("b/x", "oci")]);
    let LookupError::Ambiguous { candidates, .. } = snapshot.resolve("x").unwrap_err() else {
        panic!("two servers are called x");
    };
    assert_eq!(candidates, ["a/x", "b/x"]);
}

#[test]
fn a_server_without_a_v1beta_form_is_no_rival_there() {
    let snapshot = snapshot(vec![entry("a/x", "npm"), entry("b/x", "oci")]);
    assert!(snapshot.resolve("x").is_err());
    assert_eq!(snapshot.resolve_shown("x").unwrap().name(), "b/x");
}

#[tokio::test]
async fn the_prepared_list_leaves_out_an_empty_member() {
    let snapshot = Arc::new(snapshot(vec![entry("a/x", "npm")]));
    let prepared = snapshot.v1beta_servers().await;
    assert_eq!(&prepared.identity()[..], b"{\"servers\":[]}\n");
}
