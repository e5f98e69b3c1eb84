//! Messages to and from `ssh-agent` (draft-ietf-sshm-ssh-agent), for signatures by keys in the agent.

use super::key::{KIND, SignerKey};
use super::signature::{Signature, SignedData};
use super::wire::{Reader, put_string};

/// Maximum bytes of a response; a response with a signature has about 100.
pub const AGENT_ANSWER_BYTES_MAX: usize = 16_384;

const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Returns the request for an agent's signature of a text with a key, with its length prefix.
#[must_use]
pub fn agent_request(key: &SignerKey, data: &SignedData) -> Vec<u8> {
    let mut message = vec![SIGN_REQUEST];
    put_string(&mut message, &key.blob());
    put_string(&mut message, &data.0);
    // No flags, which are for other kinds of keys.
    message.extend(0_u32.to_be_bytes());
    let mut framed = Vec::with_capacity(message.len() + 4);
    put_string(&mut framed, &message);
    framed
}

/// Returns the signature in a response without length prefix; `None` if the agent refuses.
#[must_use]
pub fn agent_answer(key: &SignerKey, answer: &[u8]) -> Option<Signature> {
    let mut reader = Reader(answer);
    let is_signed = reader.take(1)? == [SIGN_RESPONSE];
    let mut signature = Reader(reader.string()?);
    let is_kind = signature.string()? == KIND.as_bytes();
    let bytes: [u8; 64] = signature.string()?.try_into().ok()?;
    (is_signed && is_kind && signature.is_at_end() && reader.is_at_end()).then(|| Signature::new(key, bytes))
}
