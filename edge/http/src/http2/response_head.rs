//! Heads of answers, as frames.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

use super::super::answer::{AnswerHead, SharedField};
use super::super::hpack::Encoder;
use super::super::response::{Head, is_of_connection};
use super::super::sink::Sink;
use super::frame::{self, HEAD_BYTES, flag, kind};

/// Context for writing a head.
pub(super) struct Writing<'w> {
    pub(super) encoder: &'w mut Encoder,
    pub(super) date: &'w SharedField,
    pub(super) block: &'w mut Vec<u8>,
    /// Maximum frame payload of the peer.
    pub(super) frame_bytes: usize,
}

impl Writing<'_> {
    /// Begins a frame of HEADERS.
    fn begin(&mut self) {
        self.block.clear();
        self.block.extend_from_slice(&[0; HEAD_BYTES]);
        self.encoder.begin(self.block);
    }

    /// Completes the frame; false if the block needs several frames.
    fn end(&mut self, id: u32, flags: u8) -> bool {
        let length = self.block.len() - HEAD_BYTES;
        let is_one = length <= self.frame_bytes;
        let (length, flags) = if is_one { (length, flags | flag::END_HEADERS) } else { (self.frame_bytes, flags) };
        if let Some(head) = self.block.first_chunk_mut() {
            *head = frame::head(length, kind::HEADERS, flags, id);
        }
        is_one
    }

    fn fields(&mut self, fields: &HeaderMap) {
        for (name, value) in fields {
            if !is_of_connection(name) {
                self.encoder.field(name.as_str(), value.as_bytes(), self.block);
            }
        }
    }

    fn dated(&mut self, fields: &HeaderMap) {
        self.fields(fields);
        if !fields.contains_key(header::DATE) {
            self.encoder.shared(self.date, self.block);
        }
    }

    fn answer(&mut self, status: StatusCode, head: &AnswerHead) {
        self.encoder.status(status, self.block);
        match head {
            AnswerHead::Prepared(head, more) => {
                let more = more.iter().flatten().map(Arc::as_ref).chain([self.date]);
                self.encoder.prepared(head, more, self.block);
            }
            AnswerHead::Map(fields) => self.dated(fields),
        }
    }

    /// Writes the head of an answer in memory, together with a short body: the head of the DATA frame, and the body.
    #[inline]
    pub(super) fn put_answer(
        &mut self,
        id: u32,
        status: StatusCode,
        head: &AnswerHead,
        body: bytes::Bytes,
        sink: &mut impl Sink,
    ) {
        self.begin();
        self.answer(status, head);
        let ends = if body.is_empty() { flag::END_STREAM } else { 0 };
        if !self.end(id, ends) {
            self.put_parts(id, sink);
            self.block.clear();
        }
        if body.is_empty() {
            return sink.put(self.block);
        }
        self.block.extend_from_slice(&frame::head(body.len(), kind::DATA, flag::END_STREAM, id));
        if body.len() < super::turn::REFERENCE_BYTES_MIN {
            self.block.extend_from_slice(&body);
            return sink.put(self.block);
        }
        sink.put(self.block);
        sink.put_body(body);
    }

    /// Writes a head.
    pub(super) fn put_head(&mut self, id: u32, head: &Head, ends: bool, sink: &mut impl Sink) {
        self.begin();
        match head {
            Head::Answer(status, head) => self.answer(*status, head),
            Head::Response(parts) => {
                self.encoder.status(parts.status, self.block);
                self.dated(&parts.headers);
            }
            Head::Status(status) => {
                self.encoder.status(*status, self.block);
                self.encoder.field("cache-control", b"no-store", self.block);
                self.encoder.field("content-length", b"0", self.block);
                self.encoder.shared(self.date, self.block);
            }
        }
        self.put(id, if ends { flag::END_STREAM } else { 0 }, sink);
    }

    /// Writes trailers.
    pub(super) fn put_trailers(&mut self, id: u32, trailers: &HeaderMap, sink: &mut impl Sink) {
        self.begin();
        self.fields(trailers);
        self.put(id, flag::END_STREAM, sink);
    }

    fn put(&mut self, id: u32, flags: u8, sink: &mut impl Sink) {
        if self.end(id, flags) {
            sink.put(self.block);
        } else {
            self.put_parts(id, sink);
        }
    }

    /// Writes a block of several frames (§4.3); the head of the first frame is already written.
    fn put_parts(&self, id: u32, sink: &mut impl Sink) {
        let Some((first, mut rest)) = self.block.split_at_checked(HEAD_BYTES + self.frame_bytes) else { return };
        sink.put(first);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(self.frame_bytes));
            let flags = if after.is_empty() { flag::END_HEADERS } else { 0 };
            sink.put(&frame::head(part.len(), kind::CONTINUATION, flags, id));
            sink.put(part);
            rest = after;
        }
    }
}
