//! The subset of WebAuthn needed for passkeys: ES256, no trust in attestation, user verification, a single origin.
//!
//! All functions are pure. Data from authenticators and browsers is parsed with bounds, and refused as a whole after
//! any deviation (WebAuthn Level 3 §7.1 and §7.2).

#[cfg(test)]
mod tests;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value;
use serde::Deserialize;

/// Longest passkey id in bytes (WebAuthn Level 3 §4, "Credential ID").
const CREDENTIAL_BYTES_MAX: usize = 1_023;
/// Bytes of authenticator data before the registration data: hash, flags, counter.
const HEAD_BYTES: usize = 37;
/// Bytes of the authenticator model, which is ignored.
const AAGUID_BYTES: usize = 16;
/// Bytes of a P-256 coordinate.
const COORDINATE_BYTES: usize = 32;

/// Flags of authenticator data (WebAuthn Level 3 §6.1).
const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const MAY_BE_BACKED_UP: u8 = 0x08;
const IS_BACKED_UP: u8 = 0x10;
const HAS_CREDENTIAL: u8 = 0x40;
const HAS_EXTENSIONS: u8 = 0x80;

/// Reason for a refusal, only for the edge's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Malformed data.
    #[error("it is not encoded as it should be")]
    Encoding,
    /// Another ceremony.
    #[error("the browser did something else")]
    Kind,
    /// A page of another origin, or a frame of another origin.
    #[error("it is from a page of another origin")]
    Origin,
    /// Another relying party.
    #[error("it is for another relying party")]
    RelyingParty,
    /// The user was not present, or not verified.
    #[error("nobody was verified")]
    NotVerified,
    /// Unsuitable key.
    #[error("the key is not one of ES256")]
    Key,
    /// Wrong signature.
    #[error("the signature is wrong")]
    Signature,
    /// A counter that did not increase.
    #[error("the counter went back")]
    Counter,
}

/// Site of a passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site<'s> {
    /// Relying party: a hostname.
    pub rp: &'s str,
    /// Origin of its pages, with a non-default port.
    pub origin: &'s str,
}

/// Ceremony in the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceremony {
    /// Registration of a passkey.
    Create,
    /// Use of a passkey.
    Get,
}

/// New passkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPasskey {
    /// Id assigned by the authenticator.
    pub credential: Vec<u8>,
    /// Public key, as an uncompressed point.
    pub public_key: Vec<u8>,
    /// Signature counter.
    pub counter: u32,
}

/// Browser's data about the ceremony; unknown members are ignored (WebAuthn Level 3 §5.8.1.2).
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    is_cross_origin: bool,
    #[serde(default, rename = "topOrigin")]
    top_origin: Option<String>,
}

/// Decodes base64url.
///
/// # Errors
/// [`Refusal::Encoding`].
pub fn bytes(text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_error| Refusal::Encoding)
}

/// Encodes base64url.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Checks the browser's data about the ceremony, and returns the challenge.
///
/// # Errors
/// The deviation.
pub fn challenge(client_data: &[u8], ceremony: Ceremony, site: &Site<'_>) -> Result<String, Refusal> {
    let read: ClientData = serde_json::from_slice(client_data).map_err(|_error| Refusal::Encoding)?;
    let kind = match ceremony {
        Ceremony::Create => "webauthn.create",
        Ceremony::Get => "webauthn.get",
    };
    if read.kind != kind {
        return Err(Refusal::Kind);
    }
    // Browsers treat apps on other ports of the host as the same relying party, but as another origin.
    if read.origin != site.origin || read.is_cross_origin || read.top_origin.is_some() {
        return Err(Refusal::Origin);
    }
    Ok(read.challenge)
}

/// Returns the passkey of an attestation object. Its statement is not evaluated: no authority vouches for
/// authenticators.
///
/// # Errors
/// The deviation.
pub fn registered(attestation_object: &[u8], site: &Site<'_>) -> Result<NewPasskey, Refusal> {
    let mut rest = attestation_object;
    let object = item(&mut rest)?;
    let members = object.as_map().filter(|_| rest.is_empty()).ok_or(Refusal::Encoding)?;
    let mut found = members.iter().filter(|(name, _)| name.as_text() == Some("authData"));
    let data = found.next().filter(|_| found.next().is_none()).and_then(|(_, value)| value.as_bytes());
    let (flags, counter, added) = head(data.ok_or(Refusal::Encoding)?, site)?;
    if flags & HAS_CREDENTIAL == 0 {
        return Err(Refusal::Encoding);
    }
    let (_, added) = added.split_at_checked(AAGUID_BYTES).ok_or(Refusal::Encoding)?;
    let (length, added) = added.split_first_chunk::<2>().ok_or(Refusal::Encoding)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (credential, mut added) = added.split_at_checked(length).ok_or(Refusal::Encoding)?;
    if !(1..=CREDENTIAL_BYTES_MAX).contains(&length) {
        return Err(Refusal::Encoding);
    }
    let public_key = es256(&item(&mut added)?)?;
    extensions(flags, added)?;
    Ok(NewPasskey { credential: credential.to_vec(), public_key, counter })
}

/// Checks the signature of a passkey by its key, and returns the counter.
///
/// # Errors
/// The deviation.
pub fn asserted(
    data: &[u8],
    client_data: &[u8],
    signature: &[u8],
    site: &Site<'_>,
    (public_key, counter_before): (&[u8], u32),
) -> Result<u32, Refusal> {
    let (flags, counter, added) = head(data, site)?;
    if flags & HAS_CREDENTIAL != 0 {
        return Err(Refusal::Encoding);
    }
    extensions(flags, added)?;
    let mut signed = data.to_vec();
    signed.extend_from_slice(digest(&SHA256, client_data).as_ref());
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key)
        .verify(&signed, signature)
        .map_err(|_error| Refusal::Signature)?;
    // A counter in use must increase; otherwise the passkey was cloned (WebAuthn Level 3 §6.1.1).
    if (counter != 0 || counter_before != 0) && counter <= counter_before {
        return Err(Refusal::Counter);
    }
    Ok(counter)
}

/// Returns flags, counter and remaining data.
fn head<'d>(data: &'d [u8], site: &Site<'_>) -> Result<(u8, u32, &'d [u8]), Refusal> {
    let (head, rest) = data.split_first_chunk::<HEAD_BYTES>().ok_or(Refusal::Encoding)?;
    let [rp_hash @ .., flags, a, b, c, d] = head;
    if rp_hash.as_slice() != digest(&SHA256, site.rp.as_bytes()).as_ref() {
        return Err(Refusal::RelyingParty);
    }
    let wanted = USER_PRESENT | USER_VERIFIED;
    if flags & wanted != wanted {
        return Err(Refusal::NotVerified);
    }
    if flags & IS_BACKED_UP != 0 && flags & MAY_BE_BACKED_UP == 0 {
        return Err(Refusal::Encoding);
    }
    Ok((*flags, u32::from_be_bytes([*a, *b, *c, *d]), rest))
}

/// Checks that only extensions announced by the flags follow; none was requested.
fn extensions(flags: u8, mut rest: &[u8]) -> Result<(), Refusal> {
    if flags & HAS_EXTENSIONS != 0 && !item(&mut rest)?.is_map() {
        return Err(Refusal::Encoding);
    }
    if rest.is_empty() { Ok(()) } else { Err(Refusal::Encoding) }
}

/// Reads the next CBOR item.
fn item(bytes: &mut &[u8]) -> Result<Value, Refusal> {
    ciborium::from_reader(bytes).map_err(|_error| Refusal::Encoding)
}

/// Returns the uncompressed point of a COSE key for ES256 (RFC 9053 §2.1 and §7.1.1).
fn es256(key: &Value) -> Result<Vec<u8>, Refusal> {
    let members = key.as_map().filter(|members| members.len() == 5).ok_or(Refusal::Key)?;
    let member = |label: i64| {
        let is_it = |(name, _): &&(Value, Value)| name.as_integer() == Some(label.into());
        members.iter().find(is_it).map(|(_, value)| value)
    };
    let is_number = |label: i64, number: i64| member(label).and_then(Value::as_integer) == Some(number.into());
    // Key type with two coordinates, the algorithm, the curve P-256.
    if !(is_number(1, 2) && is_number(3, -7) && is_number(-1, 1)) {
        return Err(Refusal::Key);
    }
    let mut point = vec![4];
    for label in [-2, -3] {
        let coordinate = member(label).and_then(Value::as_bytes).filter(|bytes| bytes.len() == COORDINATE_BYTES);
        point.extend_from_slice(coordinate.ok_or(Refusal::Key)?);
    }
    ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point).map_err(|_error| Refusal::Key)?;
    Ok(point)
}
