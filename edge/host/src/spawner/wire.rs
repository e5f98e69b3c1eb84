//! Protocol between the edge and the spawner over one Unix socket: frames with a length, a kind and a body.
//!
//! A frame is four bytes of length (big endian, of the rest), one byte of kind, and the body. Messages are JSON; output
//! is eight bytes of the instance's key, one byte of the stream, and the raw bytes. Output flows by credit: the spawner
//! sends at most [`WINDOW_BYTES`] of an instance beyond the bytes reported as taken by the edge. Input is eight bytes
//! of the key and the raw bytes, empty at the end; input flows by the same credit in the other direction.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::Refusal;
use super::measure::{Measured, MeasuredFolder};
use super::user_task::UserTask;
use super::{Attached, Exit, InstanceLimits, PassedSignal, Stream, Temporary, Usage, WindowSize};

/// Maximum bytes of a frame after the length. The start parameters of a program are smaller on every Linux.
pub(super) const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Maximum bytes of output in one frame.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;
/// Maximum bytes of output of one instance under way or waiting.
pub(super) const WINDOW_BYTES: usize = 256 * 1024;
/// Protocol version; both ends are the same program, except across a socket with a separate listener.
pub const PROTOCOL: u32 = 6;

const KIND_MESSAGE: u8 = 1;
const KIND_OUTPUT: u8 = 2;
const KIND_INPUT: u8 = 3;
/// Length, kind, key, stream.
const OUTPUT_HEAD_BYTES: usize = 4 + 1 + 8 + 1;

/// Message from the edge to the spawner.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// First message: the edge, the folder of its backends, and ranges of users without permitted leftovers from an
    /// earlier run, each by the first and the last user.
    Begin { protocol: u32, edge_id: String, folder: String, left: Vec<(u32, u32)> },
    /// Starts an instance, named `key` from then on.
    Launch(Box<Start>),
    /// Sends SIGTERM to the instance's process group.
    Terminate { key: u64 },
    /// Sends SIGKILL to all processes of the instance.
    Kill { key: u64 },
    /// Reports consumed bytes of output.
    Credit { key: u64, bytes: u32 },
    /// Sends input to an attached instance; empty at the end. Encoded as a separate kind of frame, not as a message.
    #[serde(skip)]
    Input { key: u64, bytes: Bytes },
    /// Resizes the terminal of an instance.
    Resize { key: u64, size: WindowSize },
    /// Sends a signal to the instance's process group.
    Signal { key: u64, signal: PassedSignal },
    /// Measures the content of folders, and unlinked open files of instances.
    Measure { request: u64, folders: Vec<MeasuredFolder>, keys: Vec<u64>, files_max: u64 },
    /// Sends SIGKILL to every process of a user, repeatedly until none is left.
    EndUser { key: u64, uid: u32 },
    /// Performs a task as a user.
    Task { key: u64, uid: u32, task: UserTask },
    /// Stops all output after [`Event::Paused`] until [`Order::Resume`]: the connection goes to the next edge.
    Pause,
    /// Resumes output for the edge that has the connection.
    Resume,
}

/// Start parameters of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) key: u64,
    pub(super) id: String,
    pub(super) command: Vec<String>,
    pub(super) folder: String,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) uid: Option<u32>,
    pub(super) limits: InstanceLimits,
    pub(super) temporary: Option<Temporary>,
    pub(super) keep: Vec<PathBuf>,
    /// Attachment of the input, and possibly a terminal, to the edge.
    pub(super) attached: Option<Attached>,
}

/// Message from the spawner to the edge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Event {
    /// Answer to `Begin`, with the reasons for missing control groups and private folders, if missing; `uids` are the
    /// first and the last of the users claimed for the edge, if any.
    Ready {
        protocol: u32,
        no_groups: Option<String>,
        no_folders: Option<String>,
        uids: Option<(u32, u32)>,
    },
    /// Answer to `Begin` of a refused edge.
    Unready {
        reason: String,
    },
    Started {
        key: u64,
        pid: u32,
    },
    /// The instance was not started; no further events follow.
    Refused {
        key: u64,
        #[serde(flatten)]
        refusal: Refusal,
    },
    /// Current usage of an instance.
    Used {
        key: u64,
        usage: Usage,
    },
    /// Number of consumed input bytes.
    InputTaken {
        key: u64,
        bytes: u32,
    },
    /// Answer to `Measure`.
    Measured {
        request: u64,
        measured: Measured,
    },
    /// Answer to `EndUser` and `Task`; `error` is the reason of a failure.
    Done {
        key: u64,
        error: Option<String>,
    },
    /// Answer to `Pause`, and the last frame before `Resume`.
    Paused,
    /// Last event of an instance: all processes have ended.
    Exited {
        key: u64,
        exit: Exit,
    },
}

/// Content of one frame.
#[derive(Debug)]
pub(super) enum Frame<M> {
    Message(M),
    Output { key: u64, stream: Stream, bytes: Bytes },
    Input { key: u64, bytes: Bytes },
}

/// Returns the frame of a message.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if too long.
pub(super) fn message(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0, 0, 0, 0, KIND_MESSAGE];
    serde_json::to_writer(&mut frame, message)?;
    seal(&mut frame)?;
    Ok(frame)
}

/// Writes the length into the head of the frame.
fn seal(frame: &mut [u8]) -> io::Result<()> {
    let length = frame.len().saturating_sub(4);
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the message is too long");
    if length > FRAME_BYTES_MAX {
        return Err(too_long());
    }
    let length = u32::try_from(length).map_err(|_too_long| too_long())?;
    let head = frame.get_mut(..4).ok_or_else(too_long)?;
    head.copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Returns the frame of input.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if too long.
pub(super) fn input(key: u64, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = vec![0, 0, 0, 0, KIND_INPUT];
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(bytes);
    seal(&mut frame)?;
    Ok(frame)
}

/// Output frame being filled.
pub(super) struct Filling(Vec<u8>);

impl Filling {
    /// Creates a frame with room for [`CHUNK_BYTES`].
    pub(super) fn new(key: u64, stream: Stream) -> Self {
        let mut frame = Vec::with_capacity(OUTPUT_HEAD_BYTES + CHUNK_BYTES);
        frame.extend_from_slice(&[0, 0, 0, 0, KIND_OUTPUT]);
        frame.extend_from_slice(&key.to_be_bytes());
        frame.push(match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        });
        frame.resize(OUTPUT_HEAD_BYTES + CHUNK_BYTES, 0);
        Self(frame)
    }

    /// Returns the buffer for reading output.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.0.get_mut(OUTPUT_HEAD_BYTES..).unwrap_or_default()
    }

    /// Returns the frame with the first `count` bytes of the buffer.
    pub(super) fn filled(mut self, count: usize) -> io::Result<Vec<u8>> {
        self.0.truncate(OUTPUT_HEAD_BYTES + count);
        seal(&mut self.0)?;
        Ok(self.0)
    }
}

/// Reads one frame; `None` at the end of the socket.
///
/// # Errors
/// Errors of the socket, and [`io::ErrorKind::InvalidData`] for an invalid frame.
pub(super) async fn read<M: for<'de> Deserialize<'de>>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<Frame<M>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let invalid = |why: &'static str| io::Error::new(io::ErrorKind::InvalidData, why);
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(invalid("a frame has a length beyond its bound"));
    }
    let mut body = BytesMut::zeroed(length);
    from.read_exact(&mut body).await?;
    let mut body = body.freeze();
    let kind = body.split_to(1);
    match kind.first() {
        Some(&KIND_MESSAGE) => Ok(Some(Frame::Message(serde_json::from_slice(&body)?))),
        Some(&KIND_OUTPUT) => {
            let (key, rest) = body.split_first_chunk::<8>().ok_or_else(|| invalid("output has no key"))?;
            let stream = match rest.first() {
                Some(1) => Stream::Stdout,
                Some(2) => Stream::Stderr,
                _ => return Err(invalid("output has no stream")),
            };
            Ok(Some(Frame::Output { key: u64::from_be_bytes(*key), stream, bytes: body.slice(9..) }))
        }
        Some(&KIND_INPUT) => {
            let (key, _) = body.split_first_chunk::<8>().ok_or_else(|| invalid("input has no key"))?;
            Ok(Some(Frame::Input { key: u64::from_be_bytes(*key), bytes: body.slice(8..) }))
        }
        _ => Err(invalid("a frame has an unknown kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawner::SpawnError;

    #[tokio::test]
    async fn messages_and_output_come_as_they_were_sent() {
        let mut sent = message(&Event::Started { key: 7, pid: 42 }).unwrap();
        let mut filling = Filling::new(u64::MAX - 1, Stream::Stderr);
        filling.room()[..3].copy_from_slice(b"a\0\xff");
        sent.extend(filling.filled(3).unwrap());
        sent.extend(input(9, b"in").unwrap());
        let mut from = sent.as_slice();
        let first = read::<Event>(&mut from).await.unwrap().unwrap();
        assert!(matches!(first, Frame::Message(Event::Started { key: 7, pid: 42 })));
        let Frame::Output { key, stream, bytes } = read::<Event>(&mut from).await.unwrap().unwrap() else {
            panic!("it is output");
        };
        assert_eq!((key, stream, bytes.as_ref()), (u64::MAX - 1, Stream::Stderr, b"a\0\xff".as_slice()));
        let Frame::Input { key, bytes } = read::<Event>(&mut from).await.unwrap().unwrap() else {
            panic!("it is input");
        };
        assert_eq!((key, bytes.as_ref()), (9, b"in".as_slice()));
        assert!(read::<Event>(&mut from).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_that_is_none_is_an_error() {
        for sent in [
            [0, 0, 0, 0].as_slice(),
            &[0xff, 0xff, 0xff, 0xff, 1],
            &[0, 0, 0, 1, 9],
            &[0, 0, 0, 3, 2, 1, 1],
            &[0, 0, 0, 3, 3, 1, 1],
            &[0, 0, 0, 10, 2, 0, 0, 0, 0, 0, 0, 0, 1, 3],
            &[0, 0, 0, 3, 1, b'{', b'}'],
            &[0, 0, 0, 9, 1, b'{'],
        ] {
            let mut from = sent;
            assert!(read::<Event>(&mut from).await.is_err(), "{sent:?}");
        }
    }

    #[test]
    fn a_message_beyond_the_bound_is_not_sent() {
        let long = Event::Refused { key: 1, refusal: "x".repeat(FRAME_BYTES_MAX).into() };
        assert!(message(&long).is_err());
    }

    #[test]
    fn a_refusal_is_understood_by_the_release_before_and_by_the_next_one() {
        let refused = |text: &str| match serde_json::from_str(text).unwrap() {
            Event::Refused { key: 7, refusal } => SpawnError::from(refusal),
            other => panic!("{other:?}"),
        };
        let before = refused(r#"{"refused":{"key":7,"reason":"why"}}"#);
        assert!(matches!(before, SpawnError::Refused(reason) if reason == "why"));
        let text = serde_json::to_string(&Event::Refused { key: 7, refusal: Refusal::no_terminal_left() }).unwrap();
        assert!(matches!(refused(&text), SpawnError::NoTerminalLeft));
        let said: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(said["refused"]["reason"].as_str().unwrap().contains("no terminal left"), "{text}");
    }
}
