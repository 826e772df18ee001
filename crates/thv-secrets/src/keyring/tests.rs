use super::fake::FakeKeyring;
use super::*;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use thv_config::ManualClock;

const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(30);

fn agent<const N: usize>(keyrings: [&Arc<FakeKeyring>; N]) -> (Agent, ManualClock) {
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    let keyrings = keyrings
        .map(|keyring| Arc::clone(keyring) as Arc<dyn Keyring>)
        .to_vec();
    (Agent::new(keyrings, Arc::new(clock.clone())), clock)
}

fn password(lookup: Lookup) -> (String, &'static str) {
    let found = lookup.found.unwrap();
    (found.password.expose_secret().to_owned(), found.keyring)
}

fn locked() -> FakeKeyring {
    FakeKeyring::durable().refusing(KeyringError::Locked)
}

#[test]
fn case_81_a_hanging_keyring_is_cut_at_its_deadline() {
    let hanging = Arc::new(FakeKeyring::durable().hanging());
    let (agent, _) = agent([&hanging]);
    assert_eq!(agent.find(false, SOON).unwrap_err(), TimedOut);
    assert_eq!(agent.store(&"p".into(), SOON).unwrap_err(), TimedOut);
    hanging.release();
}

#[test]
fn case_81_a_password_that_was_offered_too_late_is_not_stored() {
    let slow = Arc::new(FakeKeyring::durable().hanging());
    let (agent, _) = agent([&slow]);
    assert_eq!(agent.store(&"first".into(), SOON).unwrap_err(), TimedOut);
    // The person unlocks it after all; by now another password is in use elsewhere.
    slow.release();
    let held = password(agent.store(&"second".into(), LATE).unwrap());
    assert_eq!(held.0, "second");
    slow.idle();
    assert_eq!(slow.held().as_deref(), Some("second"));
}

#[test]
fn a_password_that_is_there_is_never_replaced() {
    let keyring = Arc::new(FakeKeyring::durable().holding("first"));
    let (agent, _) = agent([&keyring]);
    let held = password(agent.store(&"second".into(), LATE).unwrap());
    assert_eq!(held.0, "first");
}

#[test]
fn case_81_lookups_in_a_hanging_keyring_share_one_thread_and_one_deadline() {
    let hanging = Arc::new(FakeKeyring::durable().hanging().holding("p"));
    let (agent, clock) = agent([&hanging]);
    assert_eq!(agent.find(false, SOON).unwrap_err(), TimedOut);
    clock.advance(SOON);
    for _ in 0..20 {
        // The time the first one had is up for all: this would otherwise take ten minutes.
        assert_eq!(agent.find(false, SOON).unwrap_err(), TimedOut);
    }
    assert_eq!(hanging.lookups(), 1);
    hanging.release();
    assert_eq!(password(agent.find(false, LATE).unwrap()).0, "p");
}

#[test]
fn a_lookup_that_never_comes_back_is_given_up_after_a_minute() {
    let hanging = Arc::new(FakeKeyring::durable().hanging());
    let (agent, clock) = agent([&hanging]);
    assert_eq!(agent.find(false, SOON).unwrap_err(), TimedOut);
    clock.advance(ABANDON_AFTER);
    assert_eq!(agent.find(false, SOON).unwrap_err(), TimedOut);
    assert_eq!(hanging.lookups(), 2);
    hanging.release();
}

#[test]
fn a_login_does_not_wait_for_the_answer_given_to_a_request() {
    let hanging = Arc::new(FakeKeyring::durable().hanging());
    let (agent, _) = agent([&hanging]);
    assert_eq!(agent.find(false, SOON).unwrap_err(), TimedOut);
    assert_eq!(agent.find(true, SOON).unwrap_err(), TimedOut);
    assert_eq!(hanging.lookups(), 2);
    hanging.release();
}

#[test]
fn keyrings_are_asked_in_turn_until_one_has_the_password() {
    let platform = Arc::new(locked());
    let kernel = Arc::new(FakeKeyring::volatile().holding("k"));
    let (agent, _) = agent([&platform, &kernel]);
    let lookup = agent.find(false, LATE).unwrap();
    assert!(lookup.is_locked());
    assert_eq!(lookup.cause(), "the OS keyring: it is locked");
    assert!(!lookup.found.as_ref().unwrap().is_durable);
    assert_eq!(password(lookup), ("k".to_owned(), "the kernel keyring"));
}

#[test]
fn a_new_password_goes_into_a_durable_keyring_or_nowhere() {
    let kernel = Arc::new(FakeKeyring::volatile());
    let platform = Arc::new(FakeKeyring::durable());
    let (both, _) = agent([&kernel, &platform]);
    let lookup = both.store(&"p".into(), LATE).unwrap();
    assert_eq!(password(lookup), ("p".to_owned(), "the OS keyring"));
    assert_eq!(kernel.held(), None);

    let locked = Arc::new(locked());
    let (alone, _) = agent([&kernel, &locked]);
    let lookup = alone.store(&"p".into(), LATE).unwrap();
    assert!(lookup.found.is_none() && lookup.is_locked());
    assert_eq!(kernel.held(), None);
}
