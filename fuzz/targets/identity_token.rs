//! Identity tokens and key lists: arbitrary input is refused, or carries no valid signature.

#![no_main]

use devanture_control::access::trust::jwks::{Keys, Verdict};
use devanture_control::access::trust::jwt::parse;
use libfuzzer_sys::fuzz_target;

/// Maximum keys of a list.
const KEYS_MAX: usize = 100;
/// Key list with a key of each kind, whose private keys are unknown.
const LIST: &str = r#"{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"e","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty":"EC","crv":"P-256","kid":"n","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
     "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}
]}"#;

fuzz_target!(|input: (&str, &[u8])| {
    let (text, list) = input;
    let own = Keys::parse(list, KEYS_MAX);
    let Ok(jwt) = parse(text) else { return };
    assert_eq!(jwt.signed.iter().filter(|byte| **byte == b'.').count(), 1);
    assert!(jwt.signed.len() + jwt.signature.len() <= text.len());
    let known = Keys::parse(LIST.as_bytes(), KEYS_MAX).unwrap();
    assert_ne!(known.check(&jwt), Verdict::Good);
    if let Ok(own) = own {
        let _verdict = own.check(&jwt);
    }
});
