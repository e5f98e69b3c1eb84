//! Signatures, keys and agent responses from strangers: a parsed value is encoded unchanged, and no unsigned bytes
//! verify.

#![no_main]

use devanture_config::VersionId;
use devanture_config::signing::{PrivateKey, Signature, SignerKey, agent_answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    for kind in ["SSH SIGNATURE", "OPENSSH PRIVATE KEY"] {
        let armored = format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
        if let Ok(signature) = armored.parse::<Signature>() {
            assert_eq!(signature.to_string().parse::<Signature>().unwrap(), signature);
            // Random bytes contain no valid signature.
            assert!(signature.check(&"shop".parse().unwrap(), &VersionId::of(b"")).is_err());
        }
        if let Ok(key) = PrivateKey::parse(&armored) {
            assert!(!key.public().fingerprint().is_empty());
        }
    }
    if let Ok(key) = text.parse::<SignerKey>() {
        assert_eq!(key.to_string().parse::<SignerKey>().unwrap(), key);
    }
    let key: SignerKey =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g".parse().unwrap();
    let _ = agent_answer(&key, input);
});
