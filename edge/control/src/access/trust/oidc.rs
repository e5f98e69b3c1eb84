//! Identity token of a person from the provider of `[oidc]`: audience, groups, name.

use devanture_config::edge_toml::Oidc;
use serde_json::{Map, Value};

use crate::ledger::PERSON_PREFIX;

/// Longest subject (OpenID Connect Core 1.0 §2) and address, in characters.
pub(super) const SUBJECT_CHARACTERS_MAX: usize = 255;
/// Examined groups per person.
const GROUPS_MAX: usize = 1_000;

/// Returns true for an identity token issued to the client of `[oidc]` (OpenID Connect Core 1.0 §3.1.3.7, 3 to 5); with
/// several audiences, the client must also be the authorized party.
pub(super) fn is_for_client(oidc: &Oidc, claims: &Map<String, Value>) -> bool {
    let is_client = |value: &Value| value.as_str() == Some(&oidc.client_id);
    let is_party = claims.get("azp").map(is_client);
    match claims.get("aud") {
        Some(audience @ Value::String(_)) => is_client(audience) && is_party != Some(false),
        Some(Value::Array(audiences)) => {
            let is_among = audiences.iter().any(is_client);
            is_among && (is_party == Some(true) || (is_party.is_none() && audiences.len() == 1))
        }
        _ => false,
    }
}

/// Returns the name of a person: the address if verified by the provider, else the subject, which is unique.
///
/// # Errors
/// The reason for a missing name.
pub(super) fn person(claims: &Map<String, Value>) -> Result<String, String> {
    let text = |name: &str| {
        let text = claims.get(name).and_then(Value::as_str)?;
        let fits = !text.is_empty()
            && text.chars().count() <= SUBJECT_CHARACTERS_MAX
            && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        fits.then_some(text)
    };
    let Some(subject) = text("sub") else { return Err("its `sub` is not one".to_owned()) };
    let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
    let name = text("email").filter(|_| is_verified).unwrap_or(subject);
    Ok(format!("{PERSON_PREFIX}{name}"))
}

/// Returns the groups of a person, from a list of texts or a single text.
pub(super) fn groups<'c>(oidc: &Oidc, claims: &'c Map<String, Value>) -> Vec<&'c str> {
    match claims.get(&oidc.groups_claim) {
        Some(Value::String(group)) => vec![group],
        Some(Value::Array(groups)) => groups.iter().take(GROUPS_MAX).filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Returns a text that identifies the client at a provider: a login by one client is no login by another.
pub(super) fn client_of(oidc: &Oidc) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [oidc.issuer.as_str(), &oidc.client_id] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    hasher.finalize().to_hex().to_string()
}

/// Returns the field `WWW-Authenticate` with the provider, so that a command line without a token finds the login. Its
/// texts contain neither quotes nor backslashes.
pub(super) fn challenge_field(oidc: &Oidc) -> String {
    let Oidc { issuer, client_id, scopes, .. } = oidc;
    let texts = [("oidc_issuer", issuer.as_str()), ("oidc_client_id", client_id), ("oidc_scopes", &scopes.join(" "))];
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let parameters: Vec<String> = texts.iter().map(|(name, text)| format!("{name}=\"{}\"", quoted(text))).collect();
    // With a client secret, logins go through the edge.
    let through_edge = if oidc.client_secret_file.is_some() { ", oidc_device=\"edge\"" } else { "" };
    format!("Bearer {}{through_edge}", parameters.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn oidc() -> Oidc {
        Oidc {
            issuer: "https://login.example.org".parse().unwrap(),
            ca: None,
            client_id: "devanture".to_owned(),
            client_secret_file: None,
            scopes: vec!["openid".to_owned(), "groups".to_owned()],
            groups_claim: "groups".to_owned(),
            lifetime_s: 600,
            groups: Vec::new(),
        }
    }

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("no object") };
        object
    }

    #[test]
    fn a_token_is_for_the_client_that_it_was_made_for() {
        for (claims, expected) in [
            (json!({ "aud": "devanture" }), true),
            (json!({ "aud": ["devanture"] }), true),
            (json!({ "aud": "devanture", "azp": "devanture" }), true),
            (json!({ "aud": ["other", "devanture"], "azp": "devanture" }), true),
            (json!({ "aud": ["other", "devanture"] }), false),
            (json!({ "aud": ["devanture"], "azp": "other" }), false),
            (json!({ "aud": "devanture", "azp": "other" }), false),
            (json!({ "aud": "devanture", "azp": null }), false),
            (json!({ "aud": "Devanture" }), false),
            (json!({ "azp": "devanture" }), false),
            (json!({}), false),
        ] {
            assert_eq!(is_for_client(&oidc(), &object(claims.clone())), expected, "{claims}");
        }
    }

    #[test]
    fn a_person_is_a_verified_address_or_a_subject() {
        for (claims, expected) in [
            (json!({ "sub": "1", "email": "ada@example.org", "email_verified": true }), Ok("oidc:ada@example.org")),
            (json!({ "sub": "1", "email": "ada@example.org", "email_verified": false }), Ok("oidc:1")),
            (json!({ "sub": "1", "email": "ada@example.org", "email_verified": "true" }), Ok("oidc:1")),
            (json!({ "sub": "1", "email": "ada\nfake", "email_verified": true }), Ok("oidc:1")),
            (json!({ "email": "ada@example.org", "email_verified": true }), Err("its `sub` is not one")),
            (json!({ "sub": "a".repeat(256) }), Err("its `sub` is not one")),
        ] {
            let found = person(&object(claims.clone()));
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{claims}");
        }
    }

    #[test]
    fn groups_are_texts() {
        assert_eq!(groups(&oidc(), &object(json!({ "groups": ["a", 1, "b"] }))), ["a", "b"]);
        assert_eq!(groups(&oidc(), &object(json!({ "groups": "a" }))), ["a"]);
        assert!(groups(&oidc(), &object(json!({ "groups": { "a": true }, "roles": ["b"] }))).is_empty());
    }

    #[test]
    fn the_challenge_names_the_provider() {
        let expected = "Bearer oidc_issuer=\"https://login.example.org\", oidc_client_id=\"devanture\", \
                        oidc_scopes=\"openid groups\"";
        assert_eq!(challenge_field(&oidc()), expected);
        let confidential = Oidc { client_secret_file: Some("oidc.secret".into()), ..oidc() };
        assert_eq!(challenge_field(&confidential), format!("{expected}, oidc_device=\"edge\""));
    }
}
