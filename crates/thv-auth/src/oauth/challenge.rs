//! What a protected resource asks for: `WWW-Authenticate` in all its legal shapes (RFC 9110 section 11.6.1).
//!
//! [`parse_challenges`] reads one field value, [`BearerChallenge`] is what all fields of an answer say to somebody who has
//! or wants a bearer token (RFC 6750 section 3, RFC 9728 section 5.1). Pure functions; nothing here follows an address.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, StatusCode};

use crate::oauth::dpop::{INVALID_PROOF, USE_NONCE};
use thv_http::Reply;
use url::Url;

/// Longest field value that is read, in bytes: several times what honest servers send, and less than what would take time.
const FIELD_MAX: usize = 16 * 1024;

/// Most scopes that are taken from one challenge. A registry that wants more does not know what it wants.
const SCOPES_MAX: usize = 32;

/// Most metadata addresses that are taken from one answer.
const POINTERS_MAX: usize = 4;

/// One challenge: a scheme and either a token68 or parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme, as sent; compared without regard to case.
    pub scheme: String,
    /// The blob of schemes such as `Negotiate`.
    pub token68: Option<String>,
    /// The parameters as sent, names in lower case, values unescaped.
    pub params: Vec<(String, String)>,
}

/// Why a field value is not read. One that cannot be read to its end is not read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeFault {
    /// It is longer than 16 KiB.
    #[error("it is too long")]
    TooLong,
    /// It does not follow the grammar.
    #[error("it does not follow RFC 9110 at byte {at}")]
    Syntax {
        /// Where reading stopped.
        at: usize,
    },
}

/// What the challenges of one answer say to a client with bearer tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BearerChallenge {
    /// Where the resource's metadata are, unchecked; without repeats, in order.
    pub resource_metadata: Vec<String>,
    /// The scopes that the resource asks for (RFC 6750 section 3).
    pub scope: Option<Vec<String>>,
    /// The error code, `insufficient_scope` for example.
    pub error: Option<String>,
}

/// What the challenges of one answer say to a client whose token is bound to a key (RFC 9449 section 7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProofChallenge {
    /// The error code, `use_dpop_nonce` for example.
    pub error: Option<String>,
}

// === impl Challenge ===

impl Challenge {
    /// Whether this is a challenge of `scheme`.
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The value of a parameter. One that is there twice, which RFC 9110 section 11.2 forbids, says nothing.
    pub fn param(&self, name: &str) -> Option<&str> {
        let mut values = self
            .params
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }
}

// === impl BearerChallenge ===

impl BearerChallenge {
    /// Reads every `WWW-Authenticate` field of an answer; `None` when none of them asks for a bearer token.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found: Option<Self> = None;
        for challenge in challenges(headers) {
            if challenge.is("Bearer") || challenge.is("DPoP") {
                found.get_or_insert_default().add(&challenge);
            }
        }
        found
    }

    /// What the registry at `registry` asks for in an answer to us. Where a redirect led elsewhere, somebody else asks, and
    /// what they say is not the registry's word.
    pub(crate) fn of_registry(reply: &Reply, registry: &Url) -> Self {
        if reply.url.origin() == registry.origin() {
            Self::of(&reply.headers).unwrap_or_default()
        } else {
            Self::default()
        }
    }

    /// The first challenge that says something decides; addresses of metadata are all worth a look.
    fn add(&mut self, challenge: &Challenge) {
        if let Some(pointer) = challenge.param("resource_metadata")
            && self.resource_metadata.len() < POINTERS_MAX
            && !self.resource_metadata.iter().any(|known| known == pointer)
        {
            self.resource_metadata.push(pointer.to_owned());
        }
        if self.scope.is_none() {
            self.scope = challenge.param("scope").and_then(scopes);
        }
        if self.error.is_none() {
            self.error = challenge.param("error").map(str::to_owned);
        }
    }

    /// Whether the token was good and does not suffice (RFC 6750 section 3.1).
    pub fn is_insufficient_scope(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }
}

// === impl ProofChallenge ===

impl ProofChallenge {
    /// What an answer says of the proof; `None` when it does not ask for one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let challenge = challenges(headers).find(|challenge| challenge.is("DPoP"))?;
        Some(Self {
            error: challenge.param("error").map(str::to_owned),
        })
    }

    /// The error of an answer that refuses the proof, and not the token: another token will not help.
    pub fn refusal(status: StatusCode, headers: &HeaderMap) -> Option<String> {
        let error = Self::of(headers)?.error?;
        let is_about_proof = [USE_NONCE, INVALID_PROOF].contains(&error.as_str());
        (status == StatusCode::UNAUTHORIZED && is_about_proof).then_some(error)
    }
}

/// The challenges in all fields of an answer. A field that cannot be read has none.
fn challenges(headers: &HeaderMap) -> impl Iterator<Item = Challenge> {
    headers.get_all(WWW_AUTHENTICATE).iter().flat_map(|value| {
        match parse_challenges(value.as_bytes()) {
            Ok(challenges) => challenges,
            Err(fault) => {
                tracing::debug!(%fault, "a WWW-Authenticate field is not used");
                Vec::new()
            }
        }
    })
}

/// The scopes in a `scope` parameter (RFC 6749 section 3.3), without repeats; `None` where there is none, or where it holds
/// what no scope has.
fn scopes(text: &str) -> Option<Vec<String>> {
    let mut scopes: Vec<String> = Vec::new();
    for scope in text.split(' ').filter(|scope| !scope.is_empty()) {
        if !is_scope(scope) {
            return None;
        }
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    (!scopes.is_empty() && scopes.len() <= SCOPES_MAX).then_some(scopes)
}

/// Whether `text` is one scope token (RFC 6749 section 3.3).
pub(crate) fn is_scope(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

/// Reads one field value: a list of challenges, empty elements allowed (RFC 9110 section 5.6.1).
pub fn parse_challenges(value: &[u8]) -> Result<Vec<Challenge>, ChallengeFault> {
    if value.len() > FIELD_MAX {
        return Err(ChallengeFault::TooLong);
    }
    let mut reader = Reader { value, at: 0 };
    let mut challenges = Vec::new();
    reader.skip_separators();
    while !reader.is_at_end() {
        challenges.push(reader.challenge()?);
    }
    Ok(challenges)
}

/// A place in a field value.
#[derive(Clone)]
struct Reader<'v> {
    value: &'v [u8],
    at: usize,
}

impl<'v> Reader<'v> {
    fn peek(&self) -> Option<u8> {
        self.value.get(self.at).copied()
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.value.len()
    }

    fn fault(&self) -> ChallengeFault {
        ChallengeFault::Syntax { at: self.at }
    }

    /// Takes the longest run of bytes that `fits`.
    fn run(&mut self, fits: impl Fn(u8) -> bool) -> &'v [u8] {
        let rest = self.value.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| fits(**byte)).count();
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn skip_blanks(&mut self) -> usize {
        self.run(|byte| matches!(byte, b' ' | b'\t')).len()
    }

    /// Skips blanks and the commas between list elements; whether there was a comma.
    fn skip_separators(&mut self) -> bool {
        self.run(|byte| matches!(byte, b' ' | b'\t' | b','))
            .contains(&b',')
    }

    fn is_at_element_end(&self) -> bool {
        matches!(self.peek(), None | Some(b','))
    }

    fn token(&mut self) -> Result<String, ChallengeFault> {
        let fault = self.fault();
        let token = self.run(is_token_byte);
        if token.is_empty() {
            return Err(fault);
        }
        Ok(String::from_utf8_lossy(token).into_owned())
    }

    /// A challenge and the separators behind it.
    fn challenge(&mut self) -> Result<Challenge, ChallengeFault> {
        let mut challenge = Challenge {
            scheme: self.token()?,
            token68: None,
            params: Vec::new(),
        };
        let blanks = self.skip_blanks();
        if self.is_at_element_end() {
            self.skip_separators();
            // `Scheme ,name=value` is a scheme with a list whose first element is empty.
            if blanks > 0 {
                self.params_behind_separator(&mut challenge)?;
            }
            return Ok(challenge);
        }
        if blanks == 0 {
            return Err(self.fault());
        }
        if let Some(token68) = self.token68() {
            challenge.token68 = Some(token68);
            self.skip_separators();
            return Ok(challenge);
        }
        challenge.params.push(self.param()?);
        self.end_of_element()?;
        self.params_behind_separator(&mut challenge)?;
        Ok(challenge)
    }

    /// Takes the parameters up to the next scheme or the end.
    fn params_behind_separator(&mut self, challenge: &mut Challenge) -> Result<(), ChallengeFault> {
        while !self.is_at_end() && self.is_at_param() {
            challenge.params.push(self.param()?);
            self.end_of_element()?;
        }
        Ok(())
    }

    /// Between two elements there is a comma.
    fn end_of_element(&mut self) -> Result<(), ChallengeFault> {
        let fault = self.fault();
        if self.skip_separators() || self.is_at_end() {
            Ok(())
        } else {
            Err(fault)
        }
    }

    /// Whether a name and `=` come next, and not a scheme.
    fn is_at_param(&self) -> bool {
        let mut ahead = self.clone();
        let is_name = ahead.token().is_ok();
        ahead.skip_blanks();
        is_name && ahead.peek() == Some(b'=')
    }

    fn token68(&mut self) -> Option<String> {
        let mut ahead = self.clone();
        let body = ahead.run(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        if body.is_empty() {
            return None;
        }
        ahead.run(|byte| byte == b'=');
        let end = ahead.at;
        ahead.skip_blanks();
        if !ahead.is_at_element_end() {
            return None;
        }
        let text = self.value.get(self.at..end).unwrap_or_default();
        let text = String::from_utf8_lossy(text).into_owned();
        self.at = ahead.at;
        Some(text)
    }

    fn param(&mut self) -> Result<(String, String), ChallengeFault> {
        let name = self.token()?.to_ascii_lowercase();
        self.skip_blanks();
        if self.peek() != Some(b'=') {
            return Err(self.fault());
        }
        self.at += 1;
        self.skip_blanks();
        let value = if self.peek() == Some(b'"') {
            self.quoted()?
        } else {
            self.token()?
        };
        Ok((name, value))
    }

    fn quoted(&mut self) -> Result<String, ChallengeFault> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let byte = self.peek().ok_or_else(|| self.fault())?;
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(String::from_utf8_lossy(&text).into_owned());
                }
                b'\\' => {
                    self.at += 1;
                    let escaped = self
                        .peek()
                        .filter(|byte| is_text_byte(*byte))
                        .ok_or_else(|| self.fault())?;
                    text.push(escaped);
                }
                byte if is_text_byte(byte) => text.push(byte),
                _ => return Err(self.fault()),
            }
            self.at += 1;
        }
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may stand between quotes (RFC 9110 section 5.6.4).
fn is_text_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Vec<Challenge> {
        parse_challenges(text.as_bytes()).expect(text)
    }

    fn shown(challenges: &[Challenge]) -> String {
        let shown: Vec<String> = challenges
            .iter()
            .map(|challenge| {
                let params: Vec<String> = challenge
                    .params
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                let blob = challenge.token68.clone().unwrap_or_default();
                format!("{}<{blob}|{}>", challenge.scheme, params.join(";"))
            })
            .collect();
        shown.join(" ")
    }

    #[test]
    fn all_legal_shapes_are_read() {
        for (text, expected) in [
            ("", ""),
            (" , ,", ""),
            ("Bearer", "Bearer<|>"),
            ("Negotiate, Bearer", "Negotiate<|> Bearer<|>"),
            ("Basic realm=\"a\"", "Basic<|realm=a>"),
            ("Basic realm = a", "Basic<|realm=a>"),
            ("Bearer REALM=a,Scope=\"b c\"", "Bearer<|realm=a;scope=b c>"),
            (
                "Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\", Basic realm=\"simple\"",
                "Newauth<|realm=apps;type=1;title=Login to \"apps\"> Basic<|realm=simple>",
            ),
            (
                "Negotiate YII+/aa==, Bearer a=b",
                "Negotiate<YII+/aa==|> Bearer<|a=b>",
            ),
            ("NTLM abc", "NTLM<abc|>"),
            ("Bearer a=", "Bearer<a=|>"),
            ("Bearer ,a=b", "Bearer<|a=b>"),
            ("Bearer a=b,, ,c=d", "Bearer<|a=b;c=d>"),
            (
                "Bearer a=\"x, Basic realm=\\\"y\\\"\"",
                "Bearer<|a=x, Basic realm=\"y\">",
            ),
            ("Bearer a=\"\"", "Bearer<|a=>"),
            ("Bearer\ta=b", "Bearer<|a=b>"),
        ] {
            assert_eq!(shown(&parsed(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_not_read_at_all() {
        for text in [
            "Bearer a=\"b",
            "Bearer a=\"b\\",
            "Bearer a=b c=d",
            "Bearer a=\"b\" c=\"d\"",
            "Bearer a=\"b\"c",
            "\"Bearer\"",
            "Bearer a=,b=c",
            "Bearer, a b c",
            "=a",
            "Bearer a=b;c=d",
            "Bearer a=\"\u{1}\"",
        ] {
            assert!(parse_challenges(text.as_bytes()).is_err(), "{text}");
        }
        let long = format!("Bearer a=\"{}\"", "x".repeat(FIELD_MAX));
        assert_eq!(
            parse_challenges(long.as_bytes()),
            Err(ChallengeFault::TooLong)
        );
    }

    fn headers(fields: &[&str]) -> HeaderMap {
        fields
            .iter()
            .map(|field| (WWW_AUTHENTICATE, field.parse().expect("a field")))
            .collect()
    }

    #[test]
    fn the_bearer_challenge_is_found_among_others() {
        let said = BearerChallenge::of(&headers(&[
            "Basic realm=\"Bearer resource_metadata=\\\"https://evil.example\\\"\"",
            "Negotiate, bEaReR Resource_Metadata=\"https://r.example/1\", scope=\"a  b a\"",
            "DPoP resource_metadata=\"https://r.example/2\", error=\"invalid_token\", scope=c",
            "Bearer error=\"broken",
        ]))
        .expect("a challenge");
        assert_eq!(
            said.resource_metadata,
            ["https://r.example/1", "https://r.example/2"]
        );
        assert_eq!(said.scope, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(said.error.as_deref(), Some("invalid_token"));
        assert_eq!(BearerChallenge::of(&headers(&["Basic realm=x"])), None);
        assert_eq!(BearerChallenge::of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_parameter_that_is_there_twice_says_nothing() {
        let said =
            BearerChallenge::of(&headers(&["Bearer scope=a, SCOPE=b, error=x"])).expect("one");
        assert_eq!(said.scope, None);
        assert_eq!(said.error.as_deref(), Some("x"));
    }

    #[test]
    fn scopes_are_scope_tokens_or_nothing() {
        for (text, count) in [
            ("a", Some(1)),
            ("registry:read https://x/y.z", Some(2)),
            ("", None),
            ("  ", None),
            ("ä", None),
            ("a\\b", None),
            ("a\tb", None),
        ] {
            assert_eq!(scopes(text).map(|scopes| scopes.len()), count, "{text}");
        }
        let many: Vec<String> = (0..=SCOPES_MAX).map(|n| n.to_string()).collect();
        assert_eq!(scopes(&many.join(" ")), None);
        assert_eq!(scopes(&"x".repeat(257)), None);
    }

    prop_compose! {
        fn a_token()(text in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}") -> String { text }
    }

    fn written(challenges: &[Challenge], blanks: &[u8]) -> Vec<u8> {
        let mut blanks = blanks.iter().cycle();
        let mut blank = move || match blanks.next().unwrap_or(&0) % 3 {
            0 => "",
            1 => " ",
            _ => "\t ",
        };
        let mut text = String::new();
        for challenge in challenges {
            text.push_str(&challenge.scheme);
            if let Some(blob) = &challenge.token68 {
                text.push(' ');
                text.push_str(blob);
            }
            for (index, (name, value)) in challenge.params.iter().enumerate() {
                text.push_str(if index == 0 { " " } else { "," });
                text.push_str(blank());
                text.push_str(name);
                text.push_str(blank());
                text.push('=');
                text.push_str(blank());
                let is_token = !value.is_empty() && value.bytes().all(is_token_byte);
                // A single `name=` would be a token68, and so would `name=token` be nothing else.
                if is_token && !blank().is_empty() {
                    text.push_str(value);
                } else {
                    text.push('"');
                    for c in value.chars() {
                        if matches!(c, '"' | '\\') || !blank().is_empty() {
                            text.push('\\');
                        }
                        text.push(c);
                    }
                    text.push('"');
                }
                text.push_str(blank());
            }
            text.push_str(blank());
            text.push(',');
            text.push_str(blank());
        }
        text.into_bytes()
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_challenges(&value);
        }

        #[test]
        fn no_near_miss_panics(value in "[a-zB =,\"\\\\\t/+-]{0,60}") {
            let _ = parse_challenges(value.as_bytes());
        }

        #[test]
        fn what_is_written_is_read(
            challenges in proptest::collection::vec(
                (
                    a_token(),
                    prop_oneof![
                        Just((None, Vec::new())),
                        "[A-Za-z0-9._~+/-]{1,12}={0,2}".prop_map(|blob| (Some(blob), Vec::new())),
                        proptest::collection::vec(("[a-z][a-z0-9_-]{0,7}", "[ -~äß漢]{0,12}"), 1..4)
                            .prop_map(|params| (None, params)),
                    ],
                ),
                0..4,
            ),
            blanks in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            let challenges: Vec<Challenge> = challenges
                .into_iter()
                .map(|(scheme, (token68, params))| Challenge { scheme, token68, params })
                .collect();
            let text = written(&challenges, &blanks);
            prop_assert_eq!(parse_challenges(&text), Ok(challenges), "{}", String::from_utf8_lossy(&text));
        }
    }
}
