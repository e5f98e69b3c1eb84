//! Challenges for passkeys: signed with a secret of the edge, so that issued challenges take no memory.
//!
//! A challenge contains its time, and is bound to a purpose and a session. Each challenge is usable once: passkeys
//! record the time of the last answered challenge, and an account accepts only later challenges. Sessions likewise
//! record registration challenges.

use devanture_config::api::Purpose;

use super::{Credentials, random_bytes, webauthn};
use crate::ledger::{Error, shared_secret};
use devanture_base::clock;
use devanture_store::records::CHALLENGE_SECRET_KEY;
use devanture_store::records::sessions::PasskeyRecord;

/// Bytes of the time, and of the random part after the time.
const TIME_BYTES: usize = 8;
const RANDOM_BYTES: usize = 16;
const BODY_BYTES: usize = TIME_BYTES + RANDOM_BYTES;
/// Tolerated lead of another node's clock, in milliseconds.
const LEAD_MS_MAX: u64 = 60_000;

/// Use of a challenge: purpose, and session id if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use<'s> {
    pub(super) purpose: Purpose,
    pub(super) session: Option<&'s str>,
}

impl Credentials {
    /// Returns a new challenge and its expiry.
    pub(super) async fn new_challenge(&self, of: Use<'_>) -> Result<(String, u64), Error> {
        let key = self.challenge_key().await?;
        let now_ms = clock::now_ms();
        let mut challenge = now_ms.to_be_bytes().to_vec();
        challenge.extend(random_bytes(RANDOM_BYTES));
        let signature = signature(&key, &challenge, of);
        challenge.extend(signature.as_bytes());
        Ok((webauthn::text(&challenge), now_ms.saturating_add(self.limits.challenge_ms_max)))
    }

    /// Returns the time of a challenge issued here for the use, unless expired.
    pub(super) async fn challenge_ms(&self, challenge: &str, of: Use<'_>) -> Result<Option<u64>, Error> {
        let key = self.challenge_key().await?;
        let now_ms = clock::now_ms();
        Ok(made_ms(&key, challenge, of)
            .filter(|at_ms| has_come(*at_ms, now_ms) && now_ms.saturating_sub(*at_ms) <= self.limits.challenge_ms_max))
    }

    pub(super) async fn challenge_key(&self) -> Result<[u8; 32], Error> {
        self.challenge_key.get_or_try_init(|| shared_secret(&*self.catalog, CHALLENGE_SECRET_KEY)).await.copied()
    }
}

/// Returns true if the clock has reached a time, up to the tolerated difference between nodes.
const fn has_come(at_ms: u64, now_ms: u64) -> bool {
    at_ms <= now_ms.saturating_add(LEAD_MS_MAX)
}

/// Returns the time of the last challenge answered or registered by a passkey; 0 for a time in the future. A fast clock
/// would otherwise lock out the passkey until that time.
pub(super) fn answered_ms(passkey: &PasskeyRecord, now_ms: u64) -> u64 {
    let times = [passkey.challenge_ms, passkey.created_ms, passkey.ahead_ms];
    times.into_iter().filter(|at_ms| has_come(*at_ms, now_ms)).max().unwrap_or_default()
}

/// Records a passkey's answer to a challenge of the given time. A time in the future is kept separately, so that the
/// same answer is not accepted once the time has come.
pub(super) fn record_answer(passkey: &mut PasskeyRecord, challenge_ms: u64, now_ms: u64) {
    if !has_come(passkey.challenge_ms, now_ms) {
        passkey.ahead_ms = passkey.ahead_ms.max(passkey.challenge_ms);
    }
    passkey.challenge_ms = challenge_ms;
}

/// Returns the time of a challenge signed by the key for the use.
fn made_ms(key: &[u8; 32], challenge: &str, of: Use<'_>) -> Option<u64> {
    let bytes = webauthn::bytes(challenge).ok()?;
    let (body, found) = bytes.split_at_checked(BODY_BYTES)?;
    let found: [u8; blake3::OUT_LEN] = found.try_into().ok()?;
    // Compared in constant time.
    if signature(key, body, of) != blake3::Hash::from_bytes(found) {
        return None;
    }
    body.first_chunk::<TIME_BYTES>().map(|time| u64::from_be_bytes(*time))
}

fn signature(key: &[u8; 32], body: &[u8], of: Use<'_>) -> blake3::Hash {
    let purpose = match of.purpose {
        Purpose::Login => "login",
        Purpose::Register => "register",
        Purpose::Confirm => "confirm",
    };
    // The zero byte separates the texts, which cannot contain zero bytes.
    let mut signed = format!("challenge\0{purpose}\0{}\0", of.session.unwrap_or_default()).into_bytes();
    signed.extend_from_slice(body);
    blake3::keyed_hash(key, &signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A passkey that has answered a challenge of the given time.
    fn answered(challenge_ms: u64) -> PasskeyRecord {
        PasskeyRecord {
            account: "ada".parse().unwrap(),
            stamp: String::new(),
            name: String::new(),
            credential: String::new(),
            public_key: String::new(),
            rp: String::new(),
            origin: String::new(),
            counter: 0,
            challenge_ms,
            ahead_ms: 0,
            created_ms: 5,
            used_ms: None,
        }
    }

    #[test]
    fn a_clock_that_was_ahead_locks_no_passkey_out_and_nothing_is_answered_twice_when_that_time_comes() {
        let (now, later) = (1_000_000, 90_000_000);
        assert_eq!(answered_ms(&answered(now), now), now);
        assert_eq!(
            answered_ms(&answered(now + LEAD_MS_MAX), now),
            now + LEAD_MS_MAX,
            "clocks of nodes differ a little"
        );
        let mut passkey = answered(later);
        assert_eq!(answered_ms(&passkey, now), 5, "not before it was registered");
        record_answer(&mut passkey, now, now);
        assert_eq!(answered_ms(&passkey, now), now);
        record_answer(&mut passkey, now + 1, now + 1);
        assert_eq!(answered_ms(&passkey, now + 1), now + 1);
        assert_eq!(answered_ms(&passkey, later), later, "the time has come");
    }

    #[test]
    fn a_challenge_is_good_for_its_use_and_no_other() {
        let key = [7; 32];
        let uses = [
            Use { purpose: Purpose::Login, session: None },
            Use { purpose: Purpose::Confirm, session: Some("a") },
            Use { purpose: Purpose::Confirm, session: Some("b") },
            Use { purpose: Purpose::Register, session: Some("a") },
        ];
        let body = [&5_u64.to_be_bytes()[..], &[1; RANDOM_BYTES]].concat();
        for made_for in uses {
            let signed = [&body[..], signature(&key, &body, made_for).as_bytes()].concat();
            for shown_for in uses {
                let expected = (made_for == shown_for).then_some(5);
                assert_eq!(made_ms(&key, &webauthn::text(&signed), shown_for), expected);
            }
            for index in 0..signed.len() {
                let mut other = signed.clone();
                other[index] ^= 1;
                assert_eq!(made_ms(&key, &webauthn::text(&other), made_for), None);
            }
            assert_eq!(made_ms(&[8; 32], &webauthn::text(&signed), made_for), None);
            assert_eq!(made_ms(&key, &webauthn::text(&signed[..signed.len() - 1]), made_for), None);
        }
        for other in ["", "x", "AAAA", "=", "\u{e9}"] {
            assert_eq!(made_ms(&key, other, uses[0]), None);
        }
    }
}
