use std::collections::BTreeMap;

use thv_config::world::ManualClock;

use super::*;
use crate::format::page;
use crate::snapshot::Edition;

fn entry(name: &str, version: &str) -> Arc<Entry> {
    let body = format!(
        r#"{{"server":{{"name":"{name}","description":"d {version}","version":"{version}"}}}}"#
    );
    let row = page::parse_server_response(body.as_bytes()).unwrap();
    Arc::new(Entry::from_row(&row, Timestamp::UNIX_EPOCH).unwrap())
}

fn snapshot(entries: &[Arc<Entry>]) -> Snapshot {
    let edition = Edition {
        version: "1.0.0".to_owned(),
        last_updated: "2026-01-01T00:00:00Z".to_owned(),
    };
    Snapshot::new(edition, entries.to_vec(), Vec::new(), BTreeMap::new(), 0)
}

fn cache(directory: &Path, identity: &str) -> CacheFile {
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    CacheFile::new(directory, identity.to_owned(), clock)
}

fn names(cache: &CacheFile) -> Vec<String> {
    let contents = cache.load().unwrap();
    let entries = contents.snapshot.entries().iter();
    entries
        .map(|entry| format!("{}@{}", entry.name(), entry.version()))
        .collect()
}

#[test]
fn a_stored_catalog_comes_back_with_the_same_digest() {
    let directory = tempfile::tempdir().unwrap();
    let stored = snapshot(&[entry("a/x", "1.0.0"), entry("b/y", "1.0.0")]);
    cache(directory.path(), "me").store(&stored, &Marks::default());
    let contents = cache(directory.path(), "me").load().unwrap();
    assert_eq!(contents.snapshot.digest(), stored.digest());
}

#[test]
fn w27_another_identity_never_sees_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let mine = cache(directory.path(), "registry\nalice");
    mine.store(&snapshot(&[entry("a/x", "1.0.0")]), &Marks::default());
    assert!(cache(directory.path(), "registry\nbob").load().is_none());

    let theirs = cache(directory.path(), "registry\nbob");
    fs::copy(mine.path(), theirs.path()).unwrap();
    assert!(theirs.load().is_none(), "a copied file is refused as well");
}

#[test]
fn w27_only_our_own_old_files_are_swept() {
    let directory = tempfile::tempdir().unwrap();
    let ours = cache(directory.path(), "me");
    ours.store(&snapshot(&[entry("a/x", "1.0.0")]), &Marks::default());
    let foreign = directory.path().join("registry-0e49772f.json");
    fs::copy(ours.path(), &foreign).unwrap();
    let far = "2099-01-01T00:00:00Z".parse().unwrap();
    sweep(directory.path(), far);
    assert!(!ours.path().exists());
    assert!(foreign.exists());
}

#[test]
fn changes_are_appended_and_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let file = cache(directory.path(), "me");
    let many: Vec<_> = (0..50)
        .map(|n| entry(&format!("a/s{n:02}"), "1.0.0"))
        .collect();
    file.store(&snapshot(&many), &Marks::default());
    let before = fs::metadata(file.path()).unwrap().len();

    let newer = entry("a/s01", "2.0.0");
    let mut rest: Vec<_> = many.iter().skip(1).cloned().collect();
    rest[0] = Arc::clone(&newer);
    let changes = Changes {
        upserts: vec![newer],
        removed: vec!["a/s00".to_owned()],
        extensions: false,
    };
    file.append(&changes, &snapshot(&rest), &Marks::default());
    let grown = fs::metadata(file.path()).unwrap().len() - before;
    assert!(grown < before / 10, "{grown} bytes for one change of fifty");

    let read = names(&cache(directory.path(), "me"));
    assert_eq!(read.len(), 49);
    assert_eq!(read[0], "a/s01@2.0.0");
}

#[test]
fn a_file_that_somebody_else_wrote_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let ours = cache(directory.path(), "me");
    ours.store(&snapshot(&[entry("a/x", "1.0.0")]), &Marks::default());
    cache(directory.path(), "me").store(&snapshot(&[entry("z/z", "1.0.0")]), &Marks::default());

    let changes = Changes {
        upserts: vec![entry("b/y", "1.0.0")],
        ..Changes::default()
    };
    let after = snapshot(&[entry("a/x", "1.0.0"), entry("b/y", "1.0.0")]);
    ours.append(&changes, &after, &Marks::default());
    assert_eq!(
        names(&cache(directory.path(), "me")),
        ["a/x@1.0.0", "b/y@1.0.0"]
    );
}

#[test]
fn a_torn_or_damaged_tail_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let file = cache(directory.path(), "me");
    let many: Vec<_> = (0..20)
        .map(|n| entry(&format!("a/s{n:02}"), "1.0.0"))
        .collect();
    file.store(&snapshot(&many), &Marks::default());
    let base = fs::read(file.path()).unwrap();
    let changes = Changes {
        upserts: vec![entry("b/new", "1.0.0")],
        ..Changes::default()
    };
    let mut after = many.clone();
    after.push(entry("b/new", "1.0.0"));
    file.append(&changes, &snapshot(&after), &Marks::default());
    let whole = fs::read(file.path()).unwrap();
    for cut in base.len()..whole.len() {
        let read = log::read_cache_bytes(&whole[..cut]).unwrap();
        assert_eq!(read.snapshot.entries().len(), 20, "cut at {cut}");
    }
    for at in base.len()..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        let read = log::read_cache_bytes(&damaged).unwrap();
        assert_eq!(read.snapshot.entries().len(), 20, "damaged at {at}");
    }
    assert!(log::read_cache_bytes(&base[..base.len() - 1]).is_err());
}

#[test]
fn an_append_after_a_torn_tail_is_not_lost_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = cache(directory.path(), "me");
    file.store(&snapshot(&[entry("a/x", "1.0.0")]), &Marks::default());
    let mut bytes = fs::read(file.path()).unwrap();
    bytes.extend_from_slice(b"torn");
    disk::write_atomic(file.path(), &bytes).unwrap();

    let second = cache(directory.path(), "me");
    second.load().unwrap();
    let changes = Changes {
        upserts: vec![entry("b/y", "1.0.0")],
        ..Changes::default()
    };
    let after = snapshot(&[entry("a/x", "1.0.0"), entry("b/y", "1.0.0")]);
    second.append(&changes, &after, &Marks::default());
    assert_eq!(names(&cache(directory.path(), "me")).len(), 2);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = log::read_cache_bytes(&bytes);
        let mut led = b"THVCAT01".to_vec();
        led.extend_from_slice(&bytes);
        let _ = log::read_cache_bytes(&led);
    }
}
