//! Answers, in the form that is cheapest to send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};

use super::StreamBody;
use super::fields::content_length;
use super::{field_coding, hpack, qpack};

/// The id of the next field that is shared.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);
/// What an allocator adds to a value that is shared, with its counts, and to its parts.
const COUNTED_BYTES: usize = 32;

/// An answer that is decided: its head, and its body or how to come by it.
pub struct Answer<O> {
    /// The status.
    pub status: StatusCode,
    /// The fields, but for `date`, which the connection adds.
    pub head: AnswerHead,
    /// The body. That of an answer to HEAD, of a 204 and of a 304 is empty, whatever the head says.
    pub body: AnswerBody,
    /// Receives the outcome.
    pub outcome: O,
}

impl<O> Answer<O> {
    /// Drops a body that would be no message, whatever the service says (RFC 9110 §9.3.2, §15.3.5, §15.4.5): that of an
    /// answer to HEAD, of a 204 and of a 304. Whether any other body may have the length that the head announces.
    #[inline]
    pub(super) fn settle(&mut self, is_head: bool) -> bool {
        if is_head || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            self.body = AnswerBody::EMPTY;
            return true;
        }
        self.body.fits(&self.head)
    }
}

/// The fields of an answer.
pub enum AnswerHead {
    /// As they were prepared, and after them those that are the same for many answers.
    Prepared(Arc<PreparedHead>, [Option<Arc<SharedField>>; 3]),
    /// As they were made for this one request; apart, so that an answer that was prepared is small.
    Map(Box<HeaderMap>),
}

impl AnswerHead {
    /// The length that `content-length` announces.
    pub(super) fn content_length(&self) -> Option<u64> {
        match self {
            Self::Map(map) => announced_length(map),
            Self::Prepared(head, _) => head.length,
        }
    }
}

/// The length that the fields of a response announce for its body.
#[must_use]
pub fn announced_length(fields: &HeaderMap) -> Option<u64> {
    content_length(fields.get(CONTENT_LENGTH)?.as_bytes())
}

/// The body of an answer.
pub enum AnswerBody {
    /// At hand, or none.
    Bytes(Bytes),
    /// To be asked for.
    Stream(StreamBody),
}

impl AnswerBody {
    /// No body.
    pub const EMPTY: Self = Self::Bytes(Bytes::new());

    /// Whether it may have the length that `head` announces: a body at hand of another length would let the next answer
    /// of HTTP/1.1 stand where this one's bytes are expected, and would be malformed in HTTP/2 (RFC 9113 §8.1.1).
    #[inline]
    pub(super) fn fits(&self, head: &AnswerHead) -> bool {
        match self {
            Self::Bytes(bytes) => head.content_length().is_none_or(|length| u64::try_from(bytes.len()) == Ok(length)),
            // Its length is counted while it is sent.
            Self::Stream(_) => true,
        }
    }

    /// Takes what is at hand of it.
    pub(super) fn take_at_hand(&mut self) -> Bytes {
        match self {
            Self::Bytes(bytes) => std::mem::take(bytes),
            Self::Stream(_) => Bytes::new(),
        }
    }
}

/// A field that the answers of one connection have in common: written once, then named by its place in the table of
/// fields (RFC 7541 §2.3.2).
#[derive(Debug)]
pub struct SharedField {
    /// A number that no other field ever has: two with one number are equal in every byte.
    pub(super) id: u64,
    /// Its size in the table (RFC 7541 §4.1).
    pub(super) size: usize,
    /// Written so that it is in the table from now on.
    pub(super) inserting: Box<[u8]>,
    /// Written without it.
    pub(super) passing: Box<[u8]>,
    /// As QPACK writes it.
    pub(super) qpack: Box<[u8]>,
    /// As a line of HTTP/1.1.
    pub(super) line: Box<[u8]>,
}

impl SharedField {
    /// Prepares a field. `name` is in lower case, and both are sound as a field.
    #[must_use]
    pub fn new(name: &str, value: &[u8]) -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (inserting, passing) = (hpack::literal_inserting(name, value), hpack::literal(name, value));
        let size = field_coding::entry_size(name.len(), value.len());
        let (qpack, line) = (qpack::literal(name, value).into(), line(name, value).into());
        Self { id, size, inserting: inserting.into(), passing: passing.into(), qpack, line }
    }

    /// The field as a line of HTTP/1.1, with its end.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Its memory in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        let texts = self.inserting.len() + self.passing.len() + self.qpack.len() + self.line.len();
        COUNTED_BYTES + size_of::<Self>() + texts
    }
}

/// A list of fields that many answers share, encoded for all protocols.
#[derive(Debug)]
pub struct SharedFields {
    pub(super) fields: Box<[Arc<SharedField>]>,
    /// Their ids, side by side: they are compared for each answer, and the fields lie here and there.
    pub(super) ids: Box<[u64]>,
    /// As lines of HTTP/1.1.
    lines: Box<[u8]>,
    /// As QPACK writes them.
    qpack: Box<[u8]>,
}

impl SharedFields {
    /// Encodes the list.
    #[must_use]
    pub fn new(fields: Box<[Arc<SharedField>]>) -> Self {
        let ids = fields.iter().map(|field| field.id).collect();
        let lines = fields.iter().flat_map(|field| &*field.line).copied().collect();
        let qpack = fields.iter().flat_map(|field| &*field.qpack).copied().collect();
        Self { fields, ids, lines, qpack }
    }

    /// Its memory in bytes, without the fields themselves.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists = size_of_val::<[Arc<SharedField>]>(&self.fields) + size_of_val::<[u64]>(&self.ids);
        COUNTED_BYTES + size_of::<Self>() + lists + self.lines.len() + self.qpack.len()
    }
}

/// The fields of an answer, ready to be sent over all protocols. Each requested file has one, so that the fields it
/// has in common with others are shared.
#[derive(Debug)]
pub struct PreparedHead {
    /// Fields that only this answer has, in HTTP/2.
    pub(super) own: Box<[u8]>,
    /// The same, in HTTP/1.1.
    own_lines: Box<[u8]>,
    /// The same, in HTTP/3.
    own_qpack: Box<[u8]>,
    /// Fields that others have too.
    pub(super) shared: Arc<SharedFields>,
    /// One more, which fewer others have.
    pub(super) beside: Option<Arc<SharedField>>,
    /// The value of `content-length`, if it is one of them.
    pub(super) length: Option<u64>,
}

impl PreparedHead {
    /// Prepares the fields `own`, which no other answer is likely to have, and `shared`.
    #[must_use]
    pub fn new<'f>(own: impl IntoIterator<Item = (&'f str, &'f [u8])>, shared: Vec<Arc<SharedField>>) -> Self {
        Self::with(own, Arc::new(SharedFields::new(shared.into())), None)
    }

    /// As [`PreparedHead::new`], with a list that is shared with other heads, and a field `beside` it.
    #[must_use]
    pub fn with<'f>(
        own: impl IntoIterator<Item = (&'f str, &'f [u8])>,
        shared: Arc<SharedFields>,
        beside: Option<Arc<SharedField>>,
    ) -> Self {
        let (mut block, mut lines, mut section, mut length) = (Vec::new(), Vec::new(), Vec::new(), None);
        for (name, value) in own {
            if name == CONTENT_LENGTH {
                length = content_length(value);
            }
            block.extend_from_slice(&hpack::literal(name, value));
            lines.extend_from_slice(&line(name, value));
            section.extend_from_slice(&qpack::literal(name, value));
        }
        Self { own: block.into(), own_lines: lines.into(), own_qpack: section.into(), shared, beside, length }
    }

    /// The fields as lines of HTTP/1.1, each with its end: the head's own, then the shared ones, then the one beside
    /// them.
    #[inline]
    #[must_use]
    pub fn lines(&self) -> [&[u8]; 3] {
        [&self.own_lines, &self.shared.lines, self.beside.as_ref().map_or(&[], |field| &field.line)]
    }

    /// The fields as QPACK writes them, in the same order.
    #[must_use]
    pub fn sections(&self) -> [&[u8]; 3] {
        [&self.own_qpack, &self.shared.qpack, self.beside.as_ref().map_or(&[], |field| &field.qpack)]
    }
}

/// A field as a line of HTTP/1.1.
fn line(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b": ", value, b"\r\n"].concat()
}
