//! Tests with a software passkey whose registrations and assertions each have one fault.

#[path = "../../../../tests/support/authenticator.rs"]
mod authenticator;

use super::*;
use authenticator::{Authenticator, Signed, VERIFIED, WITH_CREDENTIAL};
use proptest::prelude::*;

const SITE: Site<'_> = Site { rp: "edge.example", origin: "https://edge.example:8444" };

fn passkey() -> Authenticator {
    Authenticator::new(SITE.rp, SITE.origin)
}

fn register(passkey: &Authenticator) -> Result<NewPasskey, Refusal> {
    let (object, client_data) = passkey.create("abc");
    assert_eq!(challenge(&client_data, Ceremony::Create, &SITE)?, "abc");
    registered(&object, &SITE)
}

fn check(signed: &Signed, passkey: &Authenticator, counter: u32) -> Result<u32, Refusal> {
    assert_eq!(challenge(&signed.client_data, Ceremony::Get, &SITE)?, "abc");
    let key = passkey.public_key();
    asserted(&signed.data, &signed.client_data, &signed.signature, &SITE, (&key, counter))
}

fn login(passkey: &Authenticator, counter: u32) -> Result<u32, Refusal> {
    check(&passkey.get("abc"), passkey, counter)
}

/// Fault of a passkey, and the expected refusal.
type Lie = (fn(&mut Authenticator), Refusal);

const LIES: [Lie; 14] = [
    (|passkey| passkey.rp = "evil.example".to_owned(), Refusal::RelyingParty),
    (|passkey| passkey.origin = "https://evil.example".to_owned(), Refusal::Origin),
    // An app on another port of the host.
    (|passkey| passkey.origin = "https://edge.example".to_owned(), Refusal::Origin),
    (|passkey| passkey.origin = "http://edge.example:8444".to_owned(), Refusal::Origin),
    (|passkey| passkey.origin = "https://edge.example:8444/".to_owned(), Refusal::Origin),
    (|passkey| passkey.added = r#","crossOrigin":true"#.to_owned(), Refusal::Origin),
    (|passkey| passkey.added = r#","topOrigin":"https://edge.example:8444""#.to_owned(), Refusal::Origin),
    (|passkey| passkey.added = r#","origin":"https://edge.example:8444""#.to_owned(), Refusal::Encoding),
    (|passkey| passkey.flags = 0, Refusal::NotVerified),
    (|passkey| passkey.flags = 0x01, Refusal::NotVerified),
    (|passkey| passkey.flags = 0x04, Refusal::NotVerified),
    (|passkey| passkey.flags = VERIFIED | IS_BACKED_UP, Refusal::Encoding),
    (|passkey| passkey.flags = VERIFIED | HAS_EXTENSIONS, Refusal::Encoding),
    (|passkey| passkey.trailer = vec![0xa0], Refusal::Encoding),
];

#[test]
fn a_passkey_is_registered_and_recognised() {
    let mut passkey = passkey();
    passkey.added = r#","crossOrigin":false,"other_keys_can_be_added_here":"x""#.to_owned();
    let made = register(&passkey).unwrap();
    assert_eq!((&made.credential, &made.public_key, made.counter), (&passkey.id, &passkey.public_key(), 0));
    assert_eq!(login(&passkey, 0), Ok(0));
    // A backed-up passkey, and one with unrequested data.
    passkey.flags = VERIFIED | MAY_BE_BACKED_UP | IS_BACKED_UP | HAS_EXTENSIONS;
    passkey.trailer = vec![0xa0];
    register(&passkey).unwrap();
    assert_eq!(login(&passkey, 0), Ok(0));
}

#[test]
fn what_is_wrong_in_one_thing_is_refused() {
    for (index, (lie, refusal)) in LIES.into_iter().enumerate() {
        let mut passkey = passkey();
        lie(&mut passkey);
        assert_eq!(register(&passkey).unwrap_err(), refusal, "{index}");
        assert_eq!(login(&passkey, 0).unwrap_err(), refusal, "{index}");
    }
    // The ceremonies are not interchangeable.
    let passkey = passkey();
    let (_, client_data) = passkey.create("abc");
    assert_eq!(challenge(&client_data, Ceremony::Get, &SITE), Err(Refusal::Kind));
    let mut signed = passkey.get("abc");
    assert_eq!(challenge(&signed.client_data, Ceremony::Create, &SITE), Err(Refusal::Kind));
    // Another challenge, another key, changed data.
    signed.client_data = passkey.get("abd").client_data;
    let key = passkey.public_key();
    let checked = asserted(&signed.data, &signed.client_data, &signed.signature, &SITE, (&key, 0));
    assert_eq!(checked, Err(Refusal::Signature));
    assert_eq!(check(&passkey.get("abc"), &Authenticator::new(SITE.rp, SITE.origin), 0), Err(Refusal::Signature));
    let mut signed = passkey.get("abc");
    signed.data[36] ^= 1;
    assert_eq!(check(&signed, &passkey, 0), Err(Refusal::Signature));
    let mut signed = passkey.get("abc");
    signed.signature.push(0);
    assert_eq!(check(&signed, &passkey, 0), Err(Refusal::Signature));
}

#[test]
fn a_key_of_another_algorithm_and_a_point_beside_the_curve_are_refused() {
    let mut other = passkey();
    for algorithm in [-8, -35, -257, 0] {
        other.algorithm = algorithm;
        assert_eq!(register(&other).unwrap_err(), Refusal::Key, "{algorithm}");
    }
    let key = |members: Vec<(i64, Value)>| {
        es256(&Value::Map(members.into_iter().map(|(label, value)| (Value::Integer(label.into()), value)).collect()))
    };
    let number = |number: i64| Value::Integer(number.into());
    let point = passkey().public_key();
    let (x, y) = (Value::Bytes(point[1..33].to_vec()), Value::Bytes(point[33..].to_vec()));
    let whole = vec![(1, number(2)), (3, number(-7)), (-1, number(1)), (-2, x.clone()), (-3, y.clone())];
    assert_eq!(key(whole.clone()).unwrap(), point);
    for (index, value) in [
        (0, number(1)),
        (2, number(2)),
        (3, Value::Bytes(vec![1; 32])),
        (3, Value::Bytes(point[1..32].to_vec())),
        (4, x.clone()),
        (4, Value::Bool(true)),
    ] {
        let mut wrong = whole.clone();
        wrong[index].1 = value;
        assert_eq!(key(wrong), Err(Refusal::Key), "{index}");
    }
    let twice = [&whole[..4], &[(-2, x)]].concat();
    assert_eq!(key(twice), Err(Refusal::Key));
    assert_eq!(key([&whole[..], &[(4, number(1))]].concat()), Err(Refusal::Key));
}

#[test]
fn a_counter_that_counts_goes_up() {
    let mut passkey = passkey();
    assert_eq!(login(&passkey, 0), Ok(0), "one that does not count");
    for (counter, before, expected) in [
        (1, 0, Ok(1)),
        (7, 6, Ok(7)),
        (7, 7, Err(Refusal::Counter)),
        (6, 7, Err(Refusal::Counter)),
        (0, 7, Err(Refusal::Counter)),
    ] {
        passkey.counter = counter;
        assert_eq!(login(&passkey, before), expected, "{counter} after {before}");
    }
}

#[test]
fn an_assertion_holds_no_credential_and_a_registration_does() {
    let mut passkey = passkey();
    let (object, _) = passkey.create("abc");
    for length in 0..object.len() {
        assert!(registered(&object[..length], &SITE).is_err(), "{length}");
    }
    assert_eq!(registered(&[&object[..], &[0]].concat(), &SITE), Err(Refusal::Encoding));
    passkey.flags = VERIFIED | WITH_CREDENTIAL;
    assert_eq!(login(&passkey, 0), Err(Refusal::Encoding));
    for id in [Vec::new(), vec![1; 1_024]] {
        passkey.id = id;
        assert_eq!(register(&passkey), Err(Refusal::Encoding));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..200, value: u8) {
        registered(&bytes, &SITE).ok();
        challenge(&bytes, Ceremony::Get, &SITE).ok();
        asserted(&bytes, &bytes, &bytes, &SITE, (&bytes, 0)).ok();
        let (mut object, _) = passkey().create("abc");
        if let Some(byte) = object.get_mut(at) {
            *byte = value;
        }
        registered(&object, &SITE).ok();
    }
}
