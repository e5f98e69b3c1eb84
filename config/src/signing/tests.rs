//! Tests that keys and signatures in OpenSSH's form are read, and changed texts refused.

use super::*;
use crate::digest::VersionId;
use crate::names::AppName;

fn place() -> (AppName, VersionId) {
    ("shop".parse().unwrap(), VersionId::of(b"a manifest"))
}

/// Makes a key, as `ssh-keygen` would.
fn key(seed: u8) -> PrivateKey {
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public: [u8; 32] = aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref().try_into().unwrap();
    PrivateKey::parse(&file_of(&[seed; 32], &public, b"none")).unwrap()
}

fn file_of(seed: &[u8; 32], public: &[u8; 32], cipher: &[u8]) -> String {
    use base64::Engine as _;
    let mut private = [7_u32.to_be_bytes(), 7_u32.to_be_bytes()].concat();
    for field in [&b"ssh-ed25519"[..], public, &[&seed[..], public].concat(), b"ada@laptop"] {
        wire::put_string(&mut private, field);
    }
    private.extend([1, 2, 3]);
    let mut blob = b"openssh-key-v1\0".to_vec();
    for field in [cipher, b"none", b""] {
        wire::put_string(&mut blob, field);
    }
    blob.extend(1_u32.to_be_bytes());
    let mut outer = Vec::new();
    wire::put_string(&mut outer, b"ssh-ed25519");
    wire::put_string(&mut outer, public);
    wire::put_string(&mut blob, &outer);
    wire::put_string(&mut blob, &private);
    let text = base64::engine::general_purpose::STANDARD.encode(blob);
    let (begin, end) = ("-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----");
    format!("{begin}\n{text}\n{end}\n")
}

#[test]
fn a_signature_is_good_for_one_version_of_one_app() {
    let ((app, version), key) = (place(), key(1));
    let text = key.sign(&version_message(&app, &version)).to_string();
    let signature: Signature = text.parse().unwrap();
    assert_eq!(signature.check(&app, &version), Ok(()));
    assert_eq!(signature.key(), key.public());
    assert_eq!(signature.check(&"blog".parse().unwrap(), &version), Err(BadSignature::OtherText));
    assert_eq!(signature.check(&app, &VersionId::of(b"another")), Err(BadSignature::OtherText));
}

#[test]
fn every_changed_byte_of_a_signature_makes_it_none() {
    let ((app, version), key) = (place(), key(1));
    let text = key.sign(&version_message(&app, &version)).to_string();
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let read = String::from_utf8(changed).unwrap().parse::<Signature>();
        assert!(read.is_err() || read.unwrap().check(&app, &version).is_err(), "byte {at}");
    }
    for cut in 0..text.trim().len() {
        assert!(text[..cut].parse::<Signature>().is_err(), "{cut} bytes");
    }
}

#[test]
fn a_signer_counts_once() {
    let ((app, version), one, two) = (place(), key(1), key(2));
    let message = version_message(&app, &version);
    let signatures = [one.sign(&message), one.sign(&message)];
    let signers = [one.public().clone(), two.public().clone(), one.public().clone()];
    assert_eq!(signed_by(&signers, &signatures, &app, &version), [one.public()]);
    assert!(signed_by(&[two.public().clone()], &signatures, &app, &version).is_empty());
    // A signature that names another key is invalid.
    let forged = Signature::new(one.public(), bytes_of(&two.sign(&message)));
    assert!(signed_by(&signers, &[forged], &app, &version).is_empty());
}

fn bytes_of(signature: &Signature) -> [u8; 64] {
    use base64::Engine as _;
    let text: String = signature.to_string().lines().filter(|line| !line.starts_with('-')).collect();
    let blob = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    blob[blob.len() - 64..].try_into().unwrap()
}

#[test]
fn a_key_is_written_as_it_was_read_and_is_the_same_with_another_comment() {
    let public = key(1).public().clone();
    let text = public.to_string();
    assert!(text.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA") && text.ends_with(" ada@laptop"), "{text}");
    let other: SignerKey = text.replace("ada@laptop", "somebody else").parse().unwrap();
    assert_eq!(other, public);
    assert_eq!(other.named(), format!("somebody else ({})", public.fingerprint()));
    let rsa = format!("ssh-rsa {}", "A".repeat(700));
    assert!(rsa.parse::<SignerKey>().is_err_and(|error| error.to_string().contains("ssh-ed25519")));
    let bad = ["", "ssh-rsa AAAA", "ssh-ed25519", "ssh-ed25519 !", "ssh-ed25519 AAAA", "ssh-ed25519\nAAAA"];
    for text in bad {
        assert!(text.parse::<SignerKey>().is_err(), "{text:?}");
    }
    // Signatures for points of small order need no secret, with either sign bit.
    let of_order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let least = format!("01{}", "00".repeat(31));
    for point in [&"00".repeat(32), &least, &format!("ec{}7f", "ff".repeat(30)), of_order_8] {
        for sign in [0, 0x80] {
            let mut bytes: [u8; 32] = hex::decode(point).unwrap().try_into().unwrap();
            bytes[31] |= sign;
            assert!(SignerKey::new(bytes, "").to_string().parse::<SignerKey>().is_err(), "{point} {sign}");
        }
    }
    assert!(format!("{text} {}", "x".repeat(SIGNER_CHARACTERS_MAX)).parse::<SignerKey>().is_err());
}

#[test]
fn an_encrypted_key_says_whose_it_is() {
    let public = *key(1).public().as_bytes();
    let encrypted = PrivateKey::parse(&file_of(&[1; 32], &public, b"aes256-ctr")).unwrap_err();
    assert_eq!(encrypted, BadPrivateKey::Encrypted(key(1).public().clone()));
    // A key with mismatched halves is invalid.
    let other = *key(2).public().as_bytes();
    assert_eq!(PrivateKey::parse(&file_of(&[1; 32], &other, b"none")).unwrap_err(), BadPrivateKey::Form);
    assert_eq!(PrivateKey::parse("a text").unwrap_err(), BadPrivateKey::Form);
    let shown = format!("{:?}", key(1));
    assert!(shown.contains("SHA256:") && !shown.contains("pair"), "{shown}");
}

#[test]
fn an_agent_signs_what_a_key_would() {
    let ((app, version), key) = (place(), key(1));
    let message = version_message(&app, &version);
    let request = agent_request(key.public(), &SignedData::of(&message));
    assert_eq!(usize::try_from(u32::from_be_bytes(request[..4].try_into().unwrap())).unwrap(), request.len() - 4);
    let mut signature = Vec::new();
    wire::put_string(&mut signature, b"ssh-ed25519");
    wire::put_string(&mut signature, &bytes_of(&key.sign(&message)));
    let mut answer = vec![14];
    wire::put_string(&mut answer, &signature);
    let signed = agent_answer(key.public(), &answer).unwrap();
    assert_eq!((signed.check(&app, &version), signed), (Ok(()), key.sign(&message)));
    // A refusal, and truncated responses.
    assert_eq!(agent_answer(key.public(), &[5]), None);
    for cut in 0..answer.len() {
        assert_eq!(agent_answer(key.public(), &answer[..cut]), None, "{cut} bytes");
    }
}
