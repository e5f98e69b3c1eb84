//! Signatures by `ssh-agent`, over the socket in `SSH_AUTH_SOCK`.

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use devanture_config::signing::{
    AGENT_ANSWER_BYTES_MAX, Signature, SignedData, SignerKey, agent_answer, agent_request,
};

use crate::platform::local_socket;

/// Longest wait for a person who confirms the signature.
const PERSON_TIME_MAX: Duration = Duration::from_secs(120);

/// Requests a signature from the agent.
///
/// # Errors
/// The reason of a missing signature, as a part of a sentence.
pub(super) fn sign(key: &SignerKey, message: &str) -> Result<Signature, String> {
    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    let socket = socket.ok_or("SSH_AUTH_SOCK names none")?;
    let answered = || {
        let mut stream = local_socket(&socket, PERSON_TIME_MAX)?;
        stream.write_all(&agent_request(key, &SignedData::of(message)))?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > AGENT_ANSWER_BYTES_MAX {
            return Err(io::Error::other("its answer is too long"));
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    let answer = answered().map_err(|error: io::Error| format!("it cannot be reached: {error}"))?;
    agent_answer(key, &answer).ok_or_else(|| "it refuses, or has no such key".to_owned())
}
