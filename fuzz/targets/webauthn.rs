//! Input of authenticators and browsers: refused, or a passkey within the size limits.

#![no_main]

use aws_lc_rs::digest::{SHA256, digest};
use devanture_control::access::webauthn::{Ceremony, Site, asserted, challenge, registered};
use libfuzzer_sys::fuzz_target;

const SITE: Site<'_> = Site { rp: "edge.example", origin: "https://edge.example:8444" };
/// Longest id of a passkey (WebAuthn Level 3 §4), and bytes of a point of P-256.
const CREDENTIAL_BYTES_MAX: usize = 1_023;
const POINT_BYTES: usize = 65;

/// Attestation object (RFC 8949) with the authenticator data alone.
fn object(data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&[0xa1, 0x68][..], b"authData", &[0x5a], &length, data].concat()
}

fn check(object: &[u8]) {
    if let Ok(made) = registered(object, &SITE) {
        assert!((1..=CREDENTIAL_BYTES_MAX).contains(&made.credential.len()));
        assert_eq!((made.public_key.len(), made.public_key[0]), (POINT_BYTES, 4));
        // A random key signs no assertion.
        assert!(asserted(object, object, object, &SITE, (&made.public_key, made.counter)).is_err());
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (bytes, client_data) = input;
    check(bytes);
    // With the right site, the remaining data is parsed, too.
    let data = [digest(&SHA256, SITE.rp.as_bytes()).as_ref(), bytes].concat();
    check(&object(&data));
    assert!(asserted(&data, client_data, bytes, &SITE, (bytes, 0)).is_err());
    for ceremony in [Ceremony::Create, Ceremony::Get] {
        if let Ok(challenge) = challenge(client_data, ceremony, &SITE) {
            assert!(challenge.len() < client_data.len());
        }
    }
});
