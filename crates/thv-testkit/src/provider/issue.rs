//! The tokens a client is given, honest or twisted, and the answer they come in.

use serde_json::{Value, json};

use super::Shared;
use super::behaviour::{Behaviour, Signature, TokenFormat, Twist};
use super::book::{Book, Family};
use super::token::{ABOUT_LOGIN, KNOWN_SCOPES, seconds};
use crate::jwt;

/// All that goes into one good answer.
pub(super) struct Issue<'a> {
    pub(super) shared: &'a Shared,
    pub(super) behaviour: &'a Behaviour,
    pub(super) family: usize,
    pub(super) scopes: &'a [String],
    pub(super) audience: Option<String>,
    pub(super) nonce: Option<&'a str>,
}

impl Issue<'_> {
    pub(super) fn answer(self, book: &mut Book, refresh: Option<String>) -> Value {
        let now = self.shared.now();
        let ttl = seconds(self.behaviour.access_ttl);
        let family = book.families[self.family].clone();
        let about_login = &KNOWN_SCOPES[..ABOUT_LOGIN];
        let scope: Vec<&str> = self
            .scopes
            .iter()
            .map(String::as_str)
            .filter(|scope| !about_login.contains(scope))
            .collect();
        let mut claims = json!({
            "iss": self.shared.issuer, "sub": family.subject, "aud": self.audience, "client_id": family.client,
            "iat": now, "exp": now + ttl, "jti": jwt::random(12), "scope": scope.join(" "),
        });
        if let Some(key) = &family.key {
            claims["cnf"] = json!({"jkt": key});
        }
        let signed = self.audience.is_some() && self.behaviour.access_format == TokenFormat::Jwt;
        let access = if signed {
            self.shared
                .sign("at+jwt", claims, &self.behaviour.access_token)
        } else {
            let token = book.secret();
            book.opaque.insert(token.clone(), (self.family, claims));
            token
        };
        book.remember(&access);
        book.access.insert(access.clone(), self.family);
        let mut answer = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": ttl, "scope": scope.join(" "),
        });
        if family.key.is_some() {
            answer["token_type"] = "DPoP".into();
        }
        if let Some(refresh) = refresh {
            answer["refresh_token"] = refresh.into();
        }
        if self.scopes.iter().any(|scope| scope == "openid") && !self.behaviour.omits_id_token {
            let token = self.id_token(&family, now);
            book.remember(&token);
            answer["id_token"] = token.into();
        }
        for (name, value) in &self.behaviour.token_answer {
            let members = answer.as_object_mut().expect("an object");
            match value {
                Some(value) => members.insert(name.clone(), value.clone()),
                None => members.remove(name),
            };
        }
        answer
    }

    fn id_token(&self, family: &Family, now: i64) -> String {
        let mut claims = json!({
            "iss": self.shared.issuer, "sub": family.subject, "aud": family.client,
            "iat": now, "exp": now + 300, "auth_time": now,
        });
        if let Some(nonce) = self.nonce {
            claims["nonce"] = nonce.into();
        }
        if self.scopes.iter().any(|scope| scope == "email") {
            claims["email"] = format!("{}@example.test", family.subject).into();
            claims["email_verified"] = true.into();
        }
        if self.scopes.iter().any(|scope| scope == "profile") {
            claims["name"] = family.subject.clone().into();
        }
        self.shared.sign("JWT", claims, &self.behaviour.id_token)
    }
}

impl Shared {
    pub(super) fn sign(&self, kind: &str, mut claims: Value, twist: &Twist) -> String {
        let members = claims.as_object_mut().expect("an object");
        for (name, value) in &twist.claims {
            match value {
                Value::Null => members.remove(name),
                value => members.insert(name.clone(), value.clone()),
            };
        }
        let keys = self.keys.lock().unwrap();
        let key = keys.signing.last().expect("a key");
        let header = |kid: &str| json!({"alg": "ES256", "typ": kind, "kid": kid});
        match twist.signature {
            Signature::Honest => key.sign(&header(key.id()), &claims),
            Signature::UnknownKey => key.sign(&header("nobody-knows"), &claims),
            Signature::Foreign => keys.foreign.sign(&header(key.id()), &claims),
            Signature::None => format!(
                "{}.",
                jwt::unsigned(&json!({"alg": "none", "typ": kind}), &claims)
            ),
        }
    }
}
