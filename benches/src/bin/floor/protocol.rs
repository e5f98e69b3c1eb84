//! Minimal protocol parsing: counts due responses and tracks the client's flow control windows.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::answers::{Answer, Answers};

/// Client connection preface of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame header.
const HEADER_BYTES: usize = 9;
/// Payload of a DATA frame that, with the header, fills a TLS record.
const DATA_BYTES: usize = 16 * 1024 - HEADER_BYTES;
/// Smaller bodies are copied next to their heads.
const COPIED_BYTES: usize = 4 * 1024;
/// Initial window of a connection or a stream (RFC 9113 §6.9.2).
const WINDOW: i64 = 65_535;
/// Reason for dropping a connection.
const MALFORMED: &str = "not what a client says";

/// Frame types with an effect here.
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const WINDOW_UPDATE: u8 = 8;
}
/// Flag of SETTINGS and PING.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Output of one turn: own bytes, with bodies in between.
#[derive(Debug, Default)]
pub(crate) struct Out {
    own: Vec<u8>,
    /// Bodies, each with the number of own bytes before.
    bodies: Vec<(usize, Bytes)>,
    bytes: usize,
}

impl Out {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn clear(&mut self) {
        self.own.clear();
        self.bodies.clear();
        self.bytes = 0;
    }

    /// Slices of the output in order.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.bodies.iter().map(|(at, _)| *at));
        let ends = self.bodies.iter().map(|(at, _)| *at).chain([self.own.len()]);
        let own = starts.zip(ends).map(|(start, end)| self.own.get(start..end).unwrap_or_default());
        let bodies = self.bodies.iter().map(|(_, body)| body.as_ref()).chain([&[][..]]);
        own.zip(bodies).flat_map(|(own, body)| [own, body]).filter(|slice| !slice.is_empty())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.own.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    fn put_body(&mut self, body: &Bytes, part: Range<usize>) {
        match body.get(part.clone()) {
            Some(bytes) if bytes.len() >= COPIED_BYTES => {
                self.bytes += bytes.len();
                self.bodies.push((self.own.len(), body.slice(part)));
            }
            bytes => self.put(bytes.unwrap_or_default()),
        }
    }

    fn frame(&mut self, length: usize, kind: u8, flags: u8, stream: u32) {
        let [_, high, middle, low] = u32::try_from(length).unwrap_or_default().to_be_bytes();
        let [a, b, c, d] = stream.to_be_bytes();
        self.put(&[high, middle, low, kind, flags, a, b, c, d]);
    }
}

/// Due response.
struct PendingResponse {
    stream: u32,
    /// Body bytes written; `None` before the head.
    sent: Option<usize>,
    window: i64,
}

/// One connection.
pub(crate) struct Protocol {
    is_http2: bool,
    answers: Arc<Answers>,
    /// Response to the first head.
    answer: Option<Answer>,
    /// Incomplete head or frame.
    held: Vec<u8>,
    /// Control frames to send.
    control: Vec<u8>,
    due: VecDeque<PendingResponse>,
    preface_seen: bool,
    window: i64,
    window_of_streams: i64,
}

impl Protocol {
    pub(crate) fn new(is_http2: bool, answers: Arc<Answers>) -> Self {
        Self {
            is_http2,
            answers,
            answer: None,
            held: Vec::new(),
            control: if is_http2 { vec![0, 0, 0, kind::SETTINGS, 0, 0, 0, 0, 0] } else { Vec::new() },
            due: VecDeque::new(),
            preface_seen: false,
            window: WINDOW,
            window_of_streams: WINDOW,
        }
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.held.is_empty() {
            let used = self.take(bytes)?;
            self.held.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            let used = self.take(&held)?;
            held.drain(..used);
            // An idle connection has no buffer.
            self.held = if held.is_empty() { Vec::new() } else { held };
        }
        Ok(())
    }

    /// Consumes complete messages; returns the number of bytes consumed.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        if !self.is_http2 {
            while let Some(end) = memchr::memmem::find(rest, b"\r\n\r\n") {
                let (head, after) = rest.split_at(end + 4);
                self.answer.get_or_insert_with(|| self.answers.to_lines(head).clone());
                self.due.push_back(PendingResponse { stream: 0, sent: None, window: i64::MAX });
                rest = after;
            }
            return Ok(bytes.len() - rest.len());
        }
        if !self.preface_seen {
            let Some((preface, after)) = rest.split_at_checked(PREFACE.len()) else { return Ok(0) };
            if preface != PREFACE {
                return Err(io::Error::other(MALFORMED));
            }
            (self.preface_seen, rest) = (true, after);
        }
        while let Some(([a, b, c, kind, flags, stream @ ..], after)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            self.frame(*kind, *flags, u32::from_be_bytes(*stream), payload)?;
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let malformed = || io::Error::other(MALFORMED);
        match kind {
            kind::HEADERS => {
                if self.answer.is_none() {
                    // Padding and a priority precede the block (RFC 9113 §6.2); no client here pads.
                    let skipped = if flags & 0x20 == 0 { 0 } else { 5 };
                    let block = payload.get(skipped..).ok_or_else(malformed)?;
                    self.answer = Some(self.answers.to_block(block).clone());
                }
                self.due.push_back(PendingResponse { stream, sent: None, window: self.window_of_streams });
            }
            kind::SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    if let [0, 4, a, b, c, d] = setting {
                        let window = i64::from(u32::from_be_bytes([*a, *b, *c, *d]));
                        let more = window - self.window_of_streams;
                        self.due.iter_mut().for_each(|due| due.window += more);
                        self.window_of_streams = window;
                    }
                }
                self.control.extend([0, 0, 0, kind::SETTINGS, ACK, 0, 0, 0, 0]);
            }
            kind::PING if flags & ACK == 0 => {
                self.control.extend([0, 0, 8, kind::PING, ACK, 0, 0, 0, 0]);
                self.control.extend_from_slice(payload.get(..8).ok_or_else(malformed)?);
            }
            kind::WINDOW_UPDATE => {
                let more = i64::from(u32::from_be_bytes(*payload.first_chunk().ok_or_else(malformed)?));
                if stream == 0 {
                    self.window += more;
                } else if let Some(due) = self.due.iter_mut().find(|due| due.stream == stream) {
                    due.window += more;
                }
            }
            kind::RST_STREAM => self.due.retain(|due| due.stream != stream),
            _ => {}
        }
        Ok(())
    }

    /// Writes due responses, the oldest first, until `room` is filled.
    pub(crate) fn produce(&mut self, out: &mut Out, room: usize) {
        if !self.control.is_empty() {
            out.put(&std::mem::take(&mut self.control));
        }
        let Some(answer) = &self.answer else { return };
        let mut index = 0;
        while out.bytes < room
            && let Some(due) = self.due.get_mut(index)
        {
            let is_over = if self.is_http2 {
                put_frames(due, answer, &mut self.window, out, room)
            } else {
                put_plain(due, answer, out, room)
            };
            if is_over {
                self.due.remove(index);
            } else {
                index += 1;
            }
        }
        if self.due.is_empty() {
            self.due.shrink_to(0);
        }
    }
}

/// Writes a response of HTTP/1.1; returns true once complete.
fn put_plain(due: &mut PendingResponse, answer: &Answer, out: &mut Out, room: usize) -> bool {
    let sent = due.sent.unwrap_or_else(|| {
        out.put(&answer.lines);
        0
    });
    let end = answer.body.len().min(sent + room.saturating_sub(out.bytes));
    out.put_body(&answer.body, sent..end);
    due.sent = Some(end);
    end == answer.body.len()
}

/// Writes a response of HTTP/2 within the windows; returns true once complete.
fn put_frames(due: &mut PendingResponse, answer: &Answer, connection: &mut i64, out: &mut Out, room: usize) -> bool {
    let body = &answer.body;
    let mut sent = due.sent.unwrap_or_else(|| {
        let flags = if body.is_empty() { END_HEADERS | END_STREAM } else { END_HEADERS };
        out.frame(answer.block.len(), kind::HEADERS, flags, due.stream);
        out.put(&answer.block);
        0
    });
    while sent < body.len() && out.bytes < room {
        let window = usize::try_from(due.window.min(*connection)).unwrap_or_default();
        let length = (body.len() - sent).min(DATA_BYTES).min(window);
        if length == 0 {
            break;
        }
        let end = sent + length;
        out.frame(length, kind::DATA, if end == body.len() { END_STREAM } else { 0 }, due.stream);
        out.put_body(body, sent..end);
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        due.window -= length;
        *connection -= length;
        sent = end;
    }
    due.sent = Some(sent);
    sent == body.len()
}
