//! Parser of identity tokens: JWT in the compact form of JWS (RFC 7515 §7.1, RFC 7519). Signatures are not checked
//! here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Longest key id, in bytes.
const KEY_ID_BYTES_MAX: usize = 512;

/// Reason for refusing a text as an identity token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Unsupported algorithm, for example `none` or an algorithm with a shared secret.
    #[error("its algorithm is none of RS256, PS256, ES256 and EdDSA")]
    Algorithm,
    /// The header lists critical extensions.
    #[error("its header has `crit`")]
    Critical,
    /// A part is not base64url.
    #[error("a part of it is not base64url")]
    Encoding,
    /// The number of parts is not three.
    #[error("it has not three parts")]
    Form,
    /// A part is no JSON object, or a member has a wrong type.
    #[error("a part of it is not as a JWT has it")]
    Json,
    /// Token of another type.
    #[error("its `typ` is not JWT")]
    Kind,
}

/// Supported algorithm. The key determines the permitted algorithm: the header alone decides nothing.
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
    /// Parses the name in a header or key.
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

/// Identity token, untrusted before the signature check.
#[derive(Debug)]
pub struct Jwt<'t> {
    /// Signature algorithm.
    pub algorithm: Algorithm,
    /// Key id, if present.
    pub key_id: Option<String>,
    /// Signed bytes.
    pub signed: &'t [u8],
    /// Signature.
    pub signature: Vec<u8>,
    /// Claims.
    pub claims: Map<String, Value>,
}

impl Jwt<'_> {
    /// Returns a text claim.
    #[must_use]
    pub fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }
}

/// Parses an identity token.
///
/// # Errors
/// The reason for a refusal.
pub fn parse(text: &str) -> Result<Jwt<'_>, Refusal> {
    let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Form)?;
    let (header, claims) = signed.split_once('.').ok_or(Refusal::Form)?;
    if claims.contains('.') {
        return Err(Refusal::Form);
    }
    let header = object(header)?;
    // RFC 7515 §4.1.11: no critical extension is supported.
    if header.contains_key("crit") {
        return Err(Refusal::Critical);
    }
    // RFC 8725 §3.11: a token signed for another use is no identity token.
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
    // Strict: neither padding nor stray bits, so that each token has a single text.
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
