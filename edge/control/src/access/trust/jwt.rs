//! Identity tokens: a JWT in the compact form of JWS (RFC 7515 §7.1, RFC 7519), taken apart. No signature is checked
//! here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Longest id of a key, in bytes.
const KEY_ID_BYTES_MAX: usize = 512;

/// Why a text is no identity token that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is signed by an algorithm that is not taken; `none` and those with a shared secret are among them.
    #[error("its algorithm is none of RS256, PS256, ES256 and EdDSA")]
    Algorithm,
    /// Its header lists extensions that have to be understood.
    #[error("its header has `crit`")]
    Critical,
    /// A part of it is not base64url.
    #[error("a part of it is not base64url")]
    Encoding,
    /// It has not three parts.
    #[error("it has not three parts")]
    Form,
    /// A part of it is no JSON object, or a member is of another type than it must be.
    #[error("a part of it is not as a JWT has it")]
    Json,
    /// It is a token of another kind.
    #[error("its `typ` is not JWT")]
    Kind,
}

/// An algorithm that is taken. A key says which of them it is for: the header alone decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// By its name in a header, or in a key.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            "PS256" => Some(Self::Ps256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// An identity token, of which nothing is true before its signature was checked.
#[derive(Debug)]
pub struct Jwt<'t> {
    /// The algorithm of its signature.
    pub algorithm: Algorithm,
    /// The id of the key, where it says one.
    pub key_id: Option<String>,
    /// The bytes that are signed.
    pub signed: &'t [u8],
    /// The signature.
    pub signature: Vec<u8>,
    /// The claims.
    pub claims: Map<String, Value>,
}

impl Jwt<'_> {
    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }
}

/// Takes an identity token apart.
///
/// # Errors
/// Why it is not taken.
pub fn parse(text: &str) -> Result<Jwt<'_>, Refusal> {
    let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Form)?;
    let (header, claims) = signed.split_once('.').ok_or(Refusal::Form)?;
    if claims.contains('.') {
        return Err(Refusal::Form);
    }
    let header = object(header)?;
    // RFC 7515 §4.1.11: nothing of that kind is understood here.
    if header.contains_key("crit") {
        return Err(Refusal::Critical);
    }
    // RFC 8725 §3.11: what an issuer signs for another use is no identity token.
    if optional_text(&header, "typ")?.is_some_and(|kind| !kind.eq_ignore_ascii_case("jwt")) {
        return Err(Refusal::Kind);
    }
    let algorithm = optional_text(&header, "alg")?.and_then(Algorithm::of).ok_or(Refusal::Algorithm)?;
    let key_id = optional_text(&header, "kid")?.map(str::to_owned);
    if key_id.as_ref().is_some_and(|id| id.len() > KEY_ID_BYTES_MAX) {
        return Err(Refusal::Json);
    }
    Ok(Jwt { algorithm, key_id, signed: signed.as_bytes(), signature: bytes(signature)?, claims: object(claims)? })
}

fn optional_text<'o>(object: &'o Map<String, Value>, name: &str) -> Result<Option<&'o str>, Refusal> {
    object.get(name).map(|value| value.as_str().ok_or(Refusal::Json)).transpose()
}

fn object(part: &str) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(&bytes(part)?).map_err(|_error| Refusal::Json)
}

fn bytes(part: &str) -> Result<Vec<u8>, Refusal> {
    // Strict: neither padding nor stray bits, so that no two texts are the same token.
    URL_SAFE_NO_PAD.decode(part).map_err(|_error| Refusal::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(header), part(claims), part("signature"))
    }

    fn refusal(header: &str) -> Option<Refusal> {
        parse(&token(header, "{}")).err()
    }

    #[test]
    fn a_token_is_a_header_claims_and_a_signature() {
        let text = token(r#"{"alg":"ES256","kid":"a","typ":"JWT"}"#, r#"{"iss":"b"}"#);
        let jwt = parse(&text).unwrap();
        assert_eq!((jwt.algorithm, jwt.key_id.as_deref(), jwt.text("iss")), (Algorithm::Es256, Some("a"), Some("b")));
        assert_eq!(
            (jwt.signed, jwt.signature.as_slice()),
            (text.rsplit_once('.').unwrap().0.as_bytes(), &b"signature"[..])
        );
    }

    #[test]
    fn algorithms_are_those_of_the_list() {
        for name in ["RS256", "PS256", "ES256", "EdDSA"] {
            assert_eq!(refusal(&format!(r#"{{"alg":"{name}"}}"#)), None, "{name}");
        }
        for name in ["none", "None", "", "HS256", "HS512", "RS1", "RS512", "ES256K", "eddsa", "RS256 ", "dir", "A256KW"]
        {
            assert_eq!(refusal(&format!(r#"{{"alg":"{name}"}}"#)), Some(Refusal::Algorithm), "{name}");
        }
        assert_eq!(refusal("{}"), Some(Refusal::Algorithm));
        assert_eq!(refusal(r#"{"alg":["RS256"]}"#), Some(Refusal::Json));
    }

    #[test]
    fn what_has_to_be_understood_and_other_kinds_are_refused() {
        assert_eq!(refusal(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#), Some(Refusal::Critical));
        assert_eq!(refusal(r#"{"alg":"RS256","crit":null}"#), Some(Refusal::Critical));
        assert_eq!(refusal(r#"{"alg":"RS256","typ":"at+jwt"}"#), Some(Refusal::Kind));
        assert_eq!(refusal(r#"{"alg":"RS256","typ":"jwt"}"#), None);
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "a".repeat(KEY_ID_BYTES_MAX + 1));
        assert_eq!(refusal(&long), Some(Refusal::Json));
    }

    #[test]
    fn other_forms_are_refused() {
        let good = token(r#"{"alg":"RS256"}"#, "{}");
        for (text, expected) in [
            ("", Refusal::Form),
            ("a.b", Refusal::Form),
            (&*format!("{good}.a"), Refusal::Form),
            (&format!("{good}="), Refusal::Encoding),
            (&format!("{good}\n"), Refusal::Encoding),
            (&good.replace('.', "+."), Refusal::Encoding),
            ("..", Refusal::Json),
            (&token("[]", "{}"), Refusal::Json),
            (&token(r#"{"alg":"RS256"}"#, "[]"), Refusal::Json),
            (&token(r#"{"alg":"RS256"}"#, &"[".repeat(1_000)), Refusal::Json),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
