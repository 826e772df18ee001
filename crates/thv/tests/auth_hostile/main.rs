//! The hostile cases of logins, one test per attack against the real binary, and the list that says where each case of the
//! design is proven: here or in another test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

#[path = "../auth_kit/mod.rs"]
mod auth_kit;
mod callback;
mod discovery;
mod local;
mod provider;
mod proxy;
mod registry;
mod tokens;

use std::collections::BTreeSet;

/// What is attacked in this test binary.
const HERE: &[(u8, &str)] = &[
    (1, "provider::a01_a_document_that_names_another_issuer"),
    (2, "provider::a02_issuers_that_almost_fit"),
    (3, "discovery::case_03_metadata_about_something_else"),
    (4, "discovery::case_04_pointers_that_lead_away"),
    (5, "discovery::case_05_challenges_in_odd_shapes"),
    (
        6,
        "discovery::case_06_several_issuers_the_first_of_them_hostile",
    ),
    (
        7,
        "discovery::case_07_a_registry_that_names_another_issuer_gets_no_token",
    ),
    (8, "provider::a08_no_s256"),
    (9, "provider::a09_token_endpoints_elsewhere"),
    (10, "provider::a10_addresses_that_are_no_web_page"),
    (11, "provider::a11_discovery_that_changes_during_a_login"),
    (
        12,
        "discovery::case_12_a_token_endpoint_on_another_host_than_at_the_login_gets_nothing",
    ),
    (13, "discovery::case_13_registrations_of_somebody_else"),
    (14, "discovery::case_14_registration_answers_without_end"),
    (
        15,
        "discovery::case_15_a_provider_that_knows_no_client_is_no_loop",
    ),
    (
        16,
        "discovery::case_16_tokens_that_could_be_bound_and_are_not",
    ),
    (17, "callback::b17_ten_thousand_forged_callbacks"),
    (18, "callback::b18_a_forged_error"),
    (20, "callback::b20_no_iss_although_promised"),
    (21, "callback::b21_odd_requests"),
    (22, "callback::b22_a_replayed_callback"),
    (24, "callback::b24_another_path"),
    (25, "callback::b25_markup_in_an_error"),
    (26, "callback::b26_a_page_that_is_told_to_redirect"),
    (27, "callback::b27_the_port_is_taken_on_the_other_loopback"),
    (30, "callback::b30_hundreds_of_logins_are_one"),
    (31, "callback::b31_a_client_that_leaves_during_the_exchange"),
    (36, "registry::c36_redirects_carry_no_token"),
    (41, "registry::c41_a_cursor_is_no_address"),
    (42, "tokens::c42_answers_that_are_no_tokens"),
    (43, "tokens::c43_pages_in_place_of_tokens_at_a_login"),
    (49, "registry::d49_private_addresses"),
    (50, "registry::d50_addresses_in_disguise"),
    (51, "registry::d51_ipv6_addresses"),
    (55, "registry::d55_other_schemes"),
    (
        62,
        "proxy::case_62_…, and thv-http proxy and exchange: case_62_…",
    ),
    (
        67,
        "local::case_67_…, and thv-api listen::unix and edge::caller: case_67_…",
    ),
    (72, "tokens::e72_no_answer_holds_a_token"),
    (75, "tokens::f75_files_are_private_whatever_the_umask"),
    (86, "registry::f86_a_poisoned_environment"),
];

/// What other tests attack.
const ELSEWHERE: &[(u8, &str)] = &[
    (28, "auth_login::f20_the_callback_is_only_on_loopback"),
    (
        29,
        "thv-api login_resource::case_29_a_login_is_reached_by_its_whole_name_only",
    ),
    (33, "thv-auth login::device and oauth::device: case_33_…"),
    (
        34,
        "auth_elsewhere and login_resource: codes come with their registry and issuer, and each start is logged",
    ),
    (
        35,
        "auth_login::w1_no_request_but_the_login_opens_a_browser_in_any_order",
    ),
    (
        40,
        "auth_machine: a_key_in_a_header_of_its_own_stays_with_the_registry",
    ),
    (
        44,
        "auth_renewal::w6_a_registry_that_rejects_every_token_causes_no_storm",
    ),
    (46, "auth_bound and thv-auth grants::bound: case_46_…"),
    (
        48,
        "auth_renewal::a_clock_that_is_a_day_off_does_not_matter",
    ),
    (
        53,
        "thv-http: addresses are checked where they are connected to",
    ),
    (54, "thv-http: every hop is checked"),
    (58, "faults: slow registries"),
    (59, "registry_api: repeated and endless cursors"),
    (60, "faults: bodies that are no catalog"),
    (63, "thv-http: trust"),
    (64, "callers::w37_only_names_of_this_machine_are_served"),
    (
        65,
        "auth_settings::w37_a_page_of_another_origin_cannot_log_in_or_out",
    ),
    (66, "callers::w37_pages_of_other_origins_read_nothing"),
    (69, "server: limits of the listener"),
    (
        71,
        "thv-api stream::case_71_only_so_many_clients_wait_and_each_leaves_its_place",
    ),
    (
        73,
        "thv-api edge: case_73_a_handler_that_panics_…, and thv-auth grants::faults and machine::fetched: case_73_…",
    ),
    (76, "auth_processes: kill -9, read-only and torn stores"),
    (
        78,
        "auth_processes::w20_a_server_without_a_terminal_reads_its_password_from_the_environment",
    ),
    (81, "thv-secrets: keyrings that hang, are locked or absent"),
    (82, "auth_machine and thv-auth: commands and programs"),
    (83, "auth_leaks"),
    (89, "thv-auth: grant records of other versions"),
];

/// The numbers that the design's list has; the others belong to no test.
const ALL: &[u8] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 22, 24, 25, 26, 27, 28,
    29, 30, 31, 33, 34, 35, 36, 40, 41, 42, 43, 44, 46, 48, 49, 50, 51, 53, 54, 55, 58, 59, 60, 62,
    63, 64, 65, 66, 67, 69, 71, 72, 73, 75, 76, 78, 81, 82, 83, 86, 89,
];

#[test]
fn every_case_is_somewhere_and_only_once() {
    let named: Vec<u8> = [HERE, ELSEWHERE]
        .into_iter()
        .flatten()
        .map(|(number, _)| *number)
        .collect();
    let unique: BTreeSet<u8> = named.iter().copied().collect();
    assert_eq!(unique.len(), named.len(), "a case is named twice");
    assert_eq!(unique, ALL.iter().copied().collect());
}
