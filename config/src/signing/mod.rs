//! Signatures of versions in OpenSSH's format (SSHSIG, `PROTOCOL.sshsig`): keys, signed text, and checks.
//!
//! `ssh-keygen -Y sign -n devanture-version@1` makes the same signatures, and `ssh-keygen -Y verify` checks the
//! signatures.

mod agent;
mod key;
mod private_key;
mod signature;
mod wire;

pub use agent::{AGENT_ANSWER_BYTES_MAX, agent_answer, agent_request};
pub use key::{BadSignerKey, SIGNER_CHARACTERS_MAX, SignerKey};
pub use private_key::{BadPrivateKey, PRIVATE_KEY_BYTES_MAX, PrivateKey};
pub use signature::{
    BadSignature, NAMESPACE, SIGNATURE_BYTES_MAX, Signature, SignatureText, SignedData, signed_by, version_message,
};

#[cfg(test)]
mod tests;
