//! Secrets and signatures of webhooks (Standard Webhooks).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::RngCore as _;

/// Prefix of a secret.
const SECRET_PREFIX: &str = "whsec_";
/// Length of a secret, in bytes.
const SECRET_BYTES: usize = 32;

/// Returns a new secret.
pub(super) fn new_secret() -> String {
    let mut bytes = [0; SECRET_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    format!("{SECRET_PREFIX}{}", BASE64.encode(bytes))
}

/// Returns the value of `webhook-signature`: a signature by each secret, separated by spaces.
pub(super) fn signatures(secrets: &[String], id: &str, timestamp_s: u64, body: &[u8]) -> String {
    let signed = secrets.iter().filter_map(|secret| {
        let key = BASE64.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?;
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        context.update(format!("{id}.{timestamp_s}.").as_bytes());
        context.update(body);
        Some(format!("v1,{}", BASE64.encode(context.sign().as_ref())))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Example from the reference libraries of the specification, confirmed with openssl.
    #[test]
    fn a_message_is_signed_as_the_specification_shows() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        let body = br#"{"test": 2432232314}"#;
        let signed = signatures(std::slice::from_ref(&secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = signatures(&[secret, new_secret()], "msg_1", 1, body);
        assert_eq!(both.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);
    }

    #[test]
    fn no_two_secrets_are_the_same() {
        let (one, other) = (new_secret(), new_secret());
        assert_ne!(one, other);
        assert_eq!(BASE64.decode(one.strip_prefix(SECRET_PREFIX).unwrap()).unwrap().len(), SECRET_BYTES);
    }
}
