//! Heads of answers and of frames, as bytes.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use super::super::answer::{AnswerHead, SharedField};
use super::super::qpack;
use super::super::response::{Head, is_of_connection};
use super::frame::{self, HEAD_BYTES_MAX, kind};

/// Context for writing a head.
pub(super) struct Writing<'w> {
    pub(super) date: &'w SharedField,
    pub(super) block: &'w mut Vec<u8>,
}

impl Writing<'_> {
    /// Begins a HEADERS frame, with room for the frame head.
    fn begin(&mut self) {
        self.block.clear();
        self.block.extend_from_slice(&[0; HEAD_BYTES_MAX]);
        qpack::start(self.block);
    }

    /// Returns the begun frame, followed by the head of a DATA frame.
    fn end(&mut self, data: Option<usize>) -> Bytes {
        let mut head = Vec::with_capacity(HEAD_BYTES_MAX);
        frame::write_head(&mut head, kind::HEADERS, self.block.len() - HEAD_BYTES_MAX);
        let start = HEAD_BYTES_MAX - head.len();
        if let Some(place) = self.block.get_mut(start..HEAD_BYTES_MAX) {
            place.copy_from_slice(&head);
        }
        if let Some(length) = data {
            frame::write_head(self.block, kind::DATA, length);
        }
        Bytes::copy_from_slice(self.block.get(start..).unwrap_or_default())
    }

    fn fields(&mut self, fields: &HeaderMap) {
        for (name, value) in fields {
            if !is_of_connection(name) {
                qpack::field(name.as_str(), value.as_bytes(), self.block);
            }
        }
    }

    fn dated(&mut self, fields: &HeaderMap) {
        self.fields(fields);
        if !fields.contains_key(header::DATE) {
            qpack::shared(self.date, self.block);
        }
    }

    fn answer(&mut self, status: StatusCode, head: &AnswerHead) {
        qpack::status(status, self.block);
        match head {
            AnswerHead::Prepared(head, more) => {
                let more = more.iter().flatten().map(Arc::as_ref).chain([self.date]);
                qpack::prepared(head, more, self.block);
            }
            AnswerHead::Map(fields) => self.dated(fields),
        }
    }

    /// Returns the HEADERS frame of an answer and, for a body of `data` bytes, the head of a DATA frame for the whole
    /// body.
    pub(super) fn head(&mut self, head: &Head, data: Option<usize>) -> Bytes {
        self.begin();
        match head {
            Head::Answer(status, head) => self.answer(*status, head),
            Head::Response(parts) => {
                qpack::status(parts.status, self.block);
                self.dated(&parts.headers);
            }
            Head::Status(status) => {
                qpack::status(*status, self.block);
                qpack::field("cache-control", b"no-store", self.block);
                qpack::field("content-length", b"0", self.block);
                qpack::shared(self.date, self.block);
            }
        }
        self.end(data)
    }

    /// Returns the head of a DATA frame.
    pub(super) fn data(&mut self, length: usize) -> Bytes {
        self.block.clear();
        frame::write_head(self.block, kind::DATA, length);
        Bytes::copy_from_slice(self.block)
    }

    /// Returns the frame of trailers.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) -> Bytes {
        self.begin();
        self.fields(trailers);
        self.end(None)
    }
}
