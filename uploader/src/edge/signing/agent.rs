//! Signatures by `ssh-agent`, over the socket that `SSH_AUTH_SOCK` names.

use devanture_config::signing::{Signature, SignerKey};

/// Has the agent sign.
///
/// # Errors
/// Why there is none, as a part of a sentence.
#[cfg(unix)]
pub(super) fn sign(key: &SignerKey, message: &str) -> Result<Signature, String> {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use devanture_config::signing::{AGENT_ANSWER_BYTES_MAX, SignedData, agent_answer, agent_request};

    /// Longest wait for a person who confirms the signature.
    const PERSON_TIME_MAX: Duration = Duration::from_secs(120);

    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    let socket = socket.ok_or("SSH_AUTH_SOCK names none")?;
    let answered = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PERSON_TIME_MAX))?;
        stream.set_write_timeout(Some(PERSON_TIME_MAX))?;
        stream.write_all(&agent_request(key, &SignedData::of(message)))?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > AGENT_ANSWER_BYTES_MAX {
            return Err(std::io::Error::other("its answer is too long"));
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    let answer = answered().map_err(|error: std::io::Error| format!("it cannot be reached: {error}"))?;
    agent_answer(key, &answer).ok_or_else(|| "it refuses, or has no such key".to_owned())
}

/// The stand-in where there are no Unix sockets.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub(super) fn sign(_key: &SignerKey, _message: &str) -> Result<Signature, String> {
    Err("there is no way to it on this system".to_owned())
}
