//! Answers, in the form that is cheapest to send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};

use super::StreamBody;
use super::fields::content_length;
use super::{field_coding, hpack, qpack};

/// Id of the next shared field.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);
/// Allocator overhead of a shared value: the reference counts and the parts.
const COUNTED_BYTES: usize = 32;

/// Complete answer: the head, and the body or the source of the body.
pub struct Answer<O> {
    /// Status code.
    pub status: StatusCode,
    /// Fields without `date`, which the connection adds.
    pub head: AnswerHead,
    /// Body; empty for an answer to HEAD, a 204 and a 304, regardless of the head.
    pub body: AnswerBody,
    /// Receives the outcome of sending.
    pub outcome: O,
}

impl<O> Answer<O> {
    /// Drops a body that HTTP forbids, regardless of the service (RFC 9110 §9.3.2, §15.3.5, §15.4.5): the body of an
    /// answer to HEAD, of a 204 and of a 304. Returns true if the body may have the length announced by the head.
    #[inline]
    pub(super) fn settle(&mut self, is_head: bool) -> bool {
        if is_head || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            self.body = AnswerBody::EMPTY;
            return true;
        }
        self.body.fits(&self.head)
    }
}

/// Fields of an answer.
pub enum AnswerHead {
    /// Prepared fields, followed by fields shared by many answers.
    Prepared(Arc<PreparedHead>, [Option<Arc<SharedField>>; 3]),
    /// Fields made for a single request; boxed, so that a prepared answer stays small.
    Map(Box<HeaderMap>),
}

impl AnswerHead {
    /// Returns the length announced by `content-length`.
    pub(super) fn content_length(&self) -> Option<u64> {
        match self {
            Self::Map(map) => announced_length(map),
            Self::Prepared(head, _) => head.length,
        }
    }
}

/// Returns the body length announced by the fields of a response.
#[must_use]
pub fn announced_length(fields: &HeaderMap) -> Option<u64> {
    content_length(fields.get(CONTENT_LENGTH)?.as_bytes())
}

/// Body of an answer.
pub enum AnswerBody {
    /// Body in memory, or empty.
    Bytes(Bytes),
    /// Body to poll.
    Stream(StreamBody),
}

impl AnswerBody {
    /// Empty body.
    pub const EMPTY: Self = Self::Bytes(Bytes::new());

    /// Returns true if the body may have the length announced by `head`. A body of a different length would put the
    /// next answer of HTTP/1.1 in the place of expected body bytes, and would be malformed in HTTP/2 (RFC 9113 §8.1.1).
    #[inline]
    pub(super) fn fits(&self, head: &AnswerHead) -> bool {
        match self {
            Self::Bytes(bytes) => head.content_length().is_none_or(|length| u64::try_from(bytes.len()) == Ok(length)),
            // The length is counted while the body is sent.
            Self::Stream(_) => true,
        }
    }

    /// Takes the bytes in memory.
    pub(super) fn take_at_hand(&mut self) -> Bytes {
        match self {
            Self::Bytes(bytes) => std::mem::take(bytes),
            Self::Stream(_) => Bytes::new(),
        }
    }
}

/// Field shared by the answers of a connection: written once, then referenced by an index into the dynamic table (RFC
/// 7541 §2.3.2).
#[derive(Debug)]
pub struct SharedField {
    /// Unique number: fields with equal ids are equal in every byte.
    pub(super) id: u64,
    /// Size in the dynamic table (RFC 7541 §4.1).
    pub(super) size: usize,
    /// HPACK encoding that inserts the field into the dynamic table.
    pub(super) inserting: Box<[u8]>,
    /// HPACK encoding without insertion.
    pub(super) passing: Box<[u8]>,
    /// QPACK encoding.
    pub(super) qpack: Box<[u8]>,
    /// Line of HTTP/1.1.
    pub(super) line: Box<[u8]>,
}

impl SharedField {
    /// Prepares a field. `name` is in lower case, and both arguments are valid in a field.
    #[must_use]
    pub fn new(name: &str, value: &[u8]) -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (inserting, passing) = (hpack::literal_inserting(name, value), hpack::literal(name, value));
        let size = field_coding::entry_size(name.len(), value.len());
        let (qpack, line) = (qpack::literal(name, value).into(), line(name, value).into());
        Self { id, size, inserting: inserting.into(), passing: passing.into(), qpack, line }
    }

    /// Returns the field as a line of HTTP/1.1, with the line end.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Returns the memory of the field in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        let texts = self.inserting.len() + self.passing.len() + self.qpack.len() + self.line.len();
        COUNTED_BYTES + size_of::<Self>() + texts
    }
}

/// List of fields shared by many answers, encoded for all protocols.
#[derive(Debug)]
pub struct SharedFields {
    pub(super) fields: Box<[Arc<SharedField>]>,
    /// Ids of the fields, in one allocation: each answer compares the ids, and the fields are scattered in memory.
    pub(super) ids: Box<[u64]>,
    /// Lines of HTTP/1.1.
    lines: Box<[u8]>,
    /// QPACK encoding.
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

    /// Returns the memory of the list in bytes, without the fields themselves.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists = size_of_val::<[Arc<SharedField>]>(&self.fields) + size_of_val::<[u64]>(&self.ids);
        COUNTED_BYTES + size_of::<Self>() + lists + self.lines.len() + self.qpack.len()
    }
}

/// Fields of an answer, encoded for all protocols. Each requested file has a prepared head, so common fields are shared
/// between heads.
#[derive(Debug)]
pub struct PreparedHead {
    /// HPACK encoding of the fields that no other answer has.
    pub(super) own: Box<[u8]>,
    /// HTTP/1.1 lines of the same fields.
    own_lines: Box<[u8]>,
    /// QPACK encoding of the same fields.
    own_qpack: Box<[u8]>,
    /// Fields shared with other answers.
    pub(super) shared: Arc<SharedFields>,
    /// Additional field shared with fewer answers.
    pub(super) beside: Option<Arc<SharedField>>,
    /// Value of `content-length`, if present.
    pub(super) length: Option<u64>,
}

impl PreparedHead {
    /// Prepares the fields `own`, which no other answer is likely to have, and `shared`.
    #[must_use]
    pub fn new<'f>(own: impl IntoIterator<Item = (&'f str, &'f [u8])>, shared: Vec<Arc<SharedField>>) -> Self {
        Self::with(own, Arc::new(SharedFields::new(shared.into())), None)
    }

    /// Prepares a head like [`PreparedHead::new`], with a list shared with other heads, and an additional field
    /// `beside`.
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

    /// Returns the fields as lines of HTTP/1.1 with their line ends: own fields, shared fields, then the additional
    /// field.
    #[inline]
    #[must_use]
    pub fn lines(&self) -> [&[u8]; 3] {
        [&self.own_lines, &self.shared.lines, self.beside.as_ref().map_or(&[], |field| &field.line)]
    }

    /// Returns the QPACK encoding of the fields, in the same order.
    #[must_use]
    pub fn sections(&self) -> [&[u8]; 3] {
        [&self.own_qpack, &self.shared.qpack, self.beside.as_ref().map_or(&[], |field| &field.qpack)]
    }
}

/// Returns a field as a line of HTTP/1.1.
fn line(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b": ", value, b"\r\n"].concat()
}
