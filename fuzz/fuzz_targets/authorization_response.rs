//! What comes back from a browser: a query, and an address that a person pasted. The state and the issuer decide.

#![no_main]

use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret;
use thv_auth::foreign::authorization_response;
use thv_auth::oauth::{Attempt, RedirectUri};
use url::Url;

const STATE: &str = "s3cret-State_123456789";
const ISSUER: &str = "https%3A%2F%2Fid.example";

fn attempt(names_itself: bool) -> Attempt {
    Attempt {
        state: STATE.into(),
        nonce: None,
        verifier: "verifier".into(),
        redirect_uri: RedirectUri::registered(8666),
        issuer: "https://id.example".into(),
        iss_parameter_supported: names_itself,
        scopes: Vec::new(),
        authorization_url: Url::parse("https://id.example/authorize").expect("a url"),
    }
}

fn check(names_itself: bool, query: &str) {
    let Some(answer) = authorization_response(&attempt(names_itself), query) else {
        return;
    };
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    let values = |name: &str| -> Vec<&str> {
        let named = pairs.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| value.as_ref()).collect()
    };
    assert_eq!(values("state"), [STATE], "{query}");
    match values("iss").as_slice() {
        [] => assert!(!names_itself, "{query}"),
        issuers => assert_eq!(issuers, ["https://id.example"], "{query}"),
    }
    match answer {
        Ok(code) => assert_eq!(values("code"), [code.expose_secret()], "{query}"),
        Err((error, description)) => {
            assert_eq!(values("code").len(), 0, "{query}");
            assert!(
                error.bytes().all(|byte| byte.is_ascii_graphic()),
                "{error:?}"
            );
            assert!(
                !description.unwrap_or_default().contains(char::is_control),
                "{query}"
            );
        }
    }
}

fuzz_target!(|text: &str| {
    for names_itself in [true, false] {
        check(names_itself, text);
        check(names_itself, &format!("state={STATE}&{text}"));
        check(names_itself, &format!("iss={ISSUER}&state={STATE}&{text}"));
    }
    let ours = attempt(false).redirect_uri;
    let pasted = [
        text.to_owned(),
        format!("{}{text}", ours.as_str()),
        format!("{}?{text}", ours.as_str()),
    ];
    for pasted in pasted {
        let Some(query) = ours.query_of(&pasted) else {
            continue;
        };
        let url = Url::parse(pasted.trim()).expect("it was read");
        assert!(
            matches!(url.host_str(), Some("127.0.0.1" | "localhost")),
            "{pasted}"
        );
        assert_eq!(url.port(), Some(8666), "{pasted}");
        check(false, &query);
    }
});
