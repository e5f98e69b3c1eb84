//! Heads made ahead of requests: for each encoding of each file, and for the plain 404 of a version.

use std::sync::{Arc, OnceLock};

use devanture_config::Digest;
use devanture_site::negotiate::Coding;
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::field_list::{Change, CommonField, FieldList};
use super::version_field::{VERSION_HEADER, VersionField};
use devanture_http::{self as engine, SharedField, SharedFields};

/// Estimated size of an encoded head without its list: tag and length, for all protocols, and the entry.
const MADE_BYTES: u64 = 320 + size_of::<Sent>() as u64;
/// Hex characters of a hash in an entity tag: 128 bits.
const ETAG_CHARACTERS: usize = 32;

/// The bytes of a hash in the tag.
type TagBytes = [u8; ETAG_CHARACTERS / 2];

/// A strong entity tag, with quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag([u8; ETAG_CHARACTERS + 2]);

impl EntityTag {
    fn of(bytes: &TagBytes) -> Self {
        let mut tag = [b'"'; ETAG_CHARACTERS + 2];
        if let Some(characters) = tag.get_mut(1..=ETAG_CHARACTERS) {
            // The lengths match by type.
            hex::encode_to_slice(bytes, characters).ok();
        }
        Self(tag)
    }

    /// The tag as a field value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only quotes and hex digits.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }
}

/// The fields of a representation's responses, except `date` and `last-modified`.
///
/// Compact, since a version may have several hundred thousand heads that are rarely requested; the head of a response,
/// with its tag, is made at the first request.
pub struct PreparedHead {
    tag: TagBytes,
    of: ContentSize,
    common: Arc<FieldList>,
    sent: OnceLock<Box<Sent>>,
}

/// Encoding and length of a head's content, in eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContentSize {
    low: u32,
    /// The upper bits of the length: no file has a quarter of a petabyte.
    high: u16,
    coding: Coding,
}

impl ContentSize {
    #[expect(clippy::cast_possible_truncation, reason = "each has its own bits")]
    const fn new(coding: Coding, length: u64) -> Self {
        Self { low: length as u32, high: (length >> 32) as u16, coding }
    }

    #[inline]
    const fn length(self) -> u64 {
        (self.high as u64) << 32 | self.low as u64
    }
}

/// Data made for a head that is sent.
struct Sent {
    etag: EntityTag,
    ok: OnceLock<Arc<engine::PreparedHead>>,
    not_modified: OnceLock<Arc<engine::PreparedHead>>,
    error: OnceLock<Arc<engine::PreparedHead>>,
    chosen: OnceLock<Arc<engine::PreparedHead>>,
    chosen_not_modified: OnceLock<Arc<engine::PreparedHead>>,
}

impl Sent {
    #[cold]
    fn new(tag: &TagBytes) -> Self {
        Self {
            etag: EntityTag::of(tag),
            ok: OnceLock::new(),
            not_modified: OnceLock::new(),
            error: OnceLock::new(),
            chosen: OnceLock::new(),
            chosen_not_modified: OnceLock::new(),
        }
    }
}

impl PreparedHead {
    /// Makes a head from the hash, the encoding and its length, and the shared fields.
    pub(super) fn new(hash: &Digest, (coding, length): (Coding, u64), common: Arc<FieldList>) -> Self {
        let tag = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        Self { tag, of: ContentSize::new(coding, length), common, sent: OnceLock::new() }
    }

    /// The head of the same bytes with other shared fields.
    pub(super) const fn with(&self, common: Arc<FieldList>) -> Self {
        Self { tag: self.tag, of: self.of, common, sent: OnceLock::new() }
    }

    /// The length of the content.
    #[inline]
    pub(super) const fn length(&self) -> u64 {
        self.of.length()
    }

    /// The encoding of the content.
    #[inline]
    pub(super) const fn coding(&self) -> Coding {
        self.of.coding
    }

    /// The entity tag.
    #[must_use]
    pub fn etag(&self) -> &EntityTag {
        &self.sent().etag
    }

    /// Returns true for the head of bytes with the hash, encoding and length.
    pub(super) fn is_of(&self, hash: &Digest, coding: Coding, length: u64) -> bool {
        hash.as_bytes().starts_with(&self.tag) && self.of == ContentSize::new(coding, length)
    }

    /// Returns true if both are heads of the same bytes.
    pub(crate) fn is_of_same_bytes(&self, other: &Self) -> bool {
        self.tag == other.tag
    }

    /// The fields of a 200; here and below, `version` is the field of the head's version.
    pub fn ok(&self, version: &VersionField) -> HeaderMap {
        let mut map = self.common.map(version.charge());
        map.insert(VERSION_HEADER, version.value().clone());
        map.insert(ETAG, EntityTag::of(&self.tag).value());
        map.insert(CONTENT_LENGTH, HeaderValue::from(self.length()));
        map
    }

    /// The fields of an error page, a stand-in without tag and ranges, which offers no dictionary and is none.
    pub fn error(&self, version: &VersionField) -> HeaderMap {
        let mut map = self.common.map_of_error();
        map.insert(VERSION_HEADER, version.value().clone());
        map.insert(CONTENT_LENGTH, HeaderValue::from(self.length()));
        map
    }

    /// The fields of a 304.
    pub fn not_modified(&self, version: &VersionField) -> HeaderMap {
        let mut map = self.common.map_of_not_modified();
        map.insert(VERSION_HEADER, version.value().clone());
        map.insert(ETAG, EntityTag::of(&self.tag).value());
        map
    }

    /// The fields of [`PreparedHead::ok`], for the engine.
    #[inline]
    pub(crate) fn ok_ready(&self, version: &VersionField) -> &Arc<engine::PreparedHead> {
        self.sent().ok.get_or_init(|| self.made((true, true), self.common.ok(version.charge()), version))
    }

    /// The fields of [`PreparedHead::not_modified`], for the engine.
    pub(crate) fn not_modified_ready(&self, version: &VersionField) -> &Arc<engine::PreparedHead> {
        let made = || self.made((false, true), self.common.not_modified(version.charge()), version);
        self.sent().not_modified.get_or_init(made)
    }

    /// The fields of [`PreparedHead::error`], for the engine.
    pub(crate) fn error_ready(&self, version: &VersionField) -> &Arc<engine::PreparedHead> {
        let made = || self.made((true, false), self.common.error(version.charge()), version);
        self.sent().error.get_or_init(made)
    }

    /// The fields of [`PreparedHead::ok_ready`] for a version chosen by a cookie; `change` marks the fields, always in
    /// the same way.
    pub(crate) fn chosen_ready(&self, version: &VersionField, change: Change) -> &Arc<engine::PreparedHead> {
        let made = || self.made((true, true), self.common.chosen(version.charge(), change), version);
        self.sent().chosen.get_or_init(made)
    }

    /// The fields of [`PreparedHead::chosen_ready`] for a 304.
    pub(crate) fn chosen_not_modified_ready(
        &self,
        version: &VersionField,
        change: Change,
    ) -> &Arc<engine::PreparedHead> {
        let made = || self.made((false, true), self.common.chosen_not_modified(version.charge(), change), version);
        self.sent().chosen_not_modified.get_or_init(made)
    }

    /// Returns true if the file may be sent unchanged as a stand-in.
    pub(crate) fn may_stand_in(&self) -> bool {
        self.common.may_stand_in()
    }

    #[inline]
    fn sent(&self) -> &Sent {
        self.sent.get_or_init(|| Box::new(Sent::new(&self.tag)))
    }

    #[cold]
    fn made(
        &self,
        (length, etag): (bool, bool),
        list: &Arc<SharedFields>,
        version: &VersionField,
    ) -> Arc<engine::PreparedHead> {
        version.charge().add(MADE_BYTES);
        let text = self.length().to_string();
        let length = length.then(|| (CONTENT_LENGTH.as_str(), text.as_bytes()));
        let etag = etag.then(|| (ETAG.as_str(), self.etag().as_str().as_bytes()));
        let own = length.into_iter().chain(etag);
        Arc::new(engine::PreparedHead::with(own, Arc::clone(list), Some(Arc::clone(version.shared()))))
    }
}

/// The head of the plain 404 of a version, without rules and error page. Made by the handler at the first 404.
pub(super) struct MissHead {
    fields: Box<[Arc<CommonField>]>,
    made: OnceLock<Arc<engine::PreparedHead>>,
}

impl MissHead {
    /// An empty head; shares as many of `fields` as possible with other responses of the version.
    pub(super) const fn new(fields: Box<[Arc<CommonField>]>) -> Self {
        Self { fields, made: OnceLock::new() }
    }

    pub(super) fn get_or_make(
        &self,
        version: &VersionField,
        make: impl FnOnce() -> HeaderMap,
    ) -> &Arc<engine::PreparedHead> {
        self.made.get_or_init(|| {
            let mut map = make();
            let beside = map.remove(VERSION_HEADER).map(|_| Arc::clone(version.shared()));
            let (own, shared): (Vec<_>, Vec<_>) = map.iter().partition(|(name, _)| *name == CONTENT_LENGTH);
            let known = |name: &HeaderName, value: &HeaderValue| {
                let found = self.fields.iter().find(|field| field.is(name, value));
                found.map(|field| Arc::clone(field.shared()))
            };
            let prepared = |(name, value): (&HeaderName, &HeaderValue)| {
                known(name, value).unwrap_or_else(|| Arc::new(SharedField::new(name.as_str(), value.as_bytes())))
            };
            let shared = SharedFields::new(shared.into_iter().map(prepared).collect());
            let own = own.into_iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            Arc::new(engine::PreparedHead::with(own, Arc::new(shared), beside))
        })
    }
}
