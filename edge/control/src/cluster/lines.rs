//! Bidirectional messages between nodes within one request: JSON, one value per line.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// Longest line.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Queued lines.
const LINES_MAX: usize = 64;

/// Body written line by line.
pub(super) type LinesBody = UnsyncBoxBody<Bytes, io::Error>;

/// Writes the lines of a body.
#[derive(Clone)]
pub(super) struct LineSender(mpsc::Sender<Bytes>);

impl LineSender {
    /// Sends a value; false once the receiver is gone.
    pub(super) async fn send(&self, value: &impl Serialize) -> bool {
        match line(value) {
            Some(line) => self.0.send(line).await.is_ok(),
            None => false,
        }
    }

    /// Returns true once the receiver is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the receiver is gone.
    pub(super) async fn closed(&self) {
        self.0.closed().await;
    }

    /// Sends a value, dropped if the receiver is slow or gone.
    pub(super) fn try_send(&self, value: &impl Serialize) {
        if let Some(line) = line(value) {
            self.0.try_send(line).ok();
        }
    }
}

fn line(value: &impl Serialize) -> Option<Bytes> {
    let mut bytes = serde_json::to_vec(value).ok()?;
    bytes.push(b'\n');
    Some(bytes.into())
}

/// Returns a body and its writer. The body ends when every sender is dropped.
pub(super) fn channel() -> (LineSender, LinesBody) {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    let frames = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Bytes>| {
        let bytes = receiver.recv().await?;
        Some((Ok(Frame::data(bytes)), receiver))
    });
    (LineSender(sender), StreamBody::new(frames).boxed_unsync())
}

/// Reads the lines of a body.
pub(super) struct LineReader<B> {
    body: B,
    read: BytesMut,
}

impl<B: Body<Data = Bytes> + Unpin> LineReader<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, read: BytesMut::new() }
    }

    /// Returns the next value; `None` at the end of the body.
    ///
    /// # Errors
    /// A sentence about a lost connection, or an overlong or unexpected line.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, String>
    where
        B::Error: std::fmt::Display,
    {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end);
                self.read.advance(1);
                return serde_json::from_slice(&line).map(Some).map_err(|error| error.to_string());
            }
            if self.read.len() > LINE_BYTES_MAX {
                return Err(format!("it sent a line of more than {LINE_BYTES_MAX} bytes"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.read.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_are_read_as_they_were_sent(values in prop::collection::vec(".{0,40}", 0..20)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (sender, body) = channel();
                let mut reader = LineReader::new(body);
                let sent = values.clone();
                let sending = async move {
                    for value in &sent {
                        assert!(sender.send(value).await);
                    }
                };
                let reading = async {
                    let mut read: Vec<String> = Vec::new();
                    while let Some(value) = reader.next().await.unwrap() {
                        read.push(value);
                    }
                    read
                };
                let ((), read) = tokio::join!(sending, reading);
                assert_eq!(read, values);
            });
        }

        #[test]
        fn any_bytes_are_lines_or_an_error(bytes: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut reader = LineReader::new(Full::new(Bytes::from(bytes)));
                while let Ok(Some(_)) = reader.next::<serde_json::Value>().await {}
            });
        }
    }
}
