//! Heads that are made before anybody asks: of each encoding of each file, and of the miss that a version answers most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, ETAG, LINK, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::engine::{self, SharedField};
use crate::site::cache::{self, Kept};
use crate::site::dictionary;

/// Says for which later requests an answer is to be the dictionary (RFC 9842 §2.1).
pub const USE_AS_DICTIONARY: HeaderName = HeaderName::from_static("use-as-dictionary");

/// A field that many answers have in common, in the form of either way to answer.
#[derive(Debug)]
pub struct CommonField {
    name: HeaderName,
    value: HeaderValue,
    shared: Arc<SharedField>,
}

impl CommonField {
    /// Prepares it.
    #[must_use]
    pub fn new(name: HeaderName, value: HeaderValue) -> Self {
        let shared = Arc::new(SharedField::new(name.as_str(), value.as_bytes()));
        Self { name, value, shared }
    }

    /// Its value, for a map.
    #[must_use]
    pub const fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// The field, for the engine.
    #[must_use]
    pub const fn shared(&self) -> &Arc<SharedField> {
        &self.shared
    }
}

/// The fields of one version while it is loaded: each is prepared once, so that on a connection it is sent once.
#[derive(Default)]
pub(super) struct FieldPool(Mutex<HashMap<(HeaderName, HeaderValue), Arc<CommonField>>>);

impl FieldPool {
    /// The field of that name and value.
    pub(super) fn field(&self, name: HeaderName, value: HeaderValue) -> Arc<CommonField> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let made = known
            .entry((name, value))
            .or_insert_with_key(|(name, value)| Arc::new(CommonField::new(name.clone(), value.clone())));
        Arc::clone(made)
    }

    /// All of them.
    pub(super) fn into_fields(self) -> Box<[Arc<CommonField>]> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
    }
}

/// The fields of a representation's answers, but for `date` and `last-modified`.
///
/// Kept in what they cost to hold, for the many files that nobody asks for in a while; what a response is begun with is
/// made at the first request.
pub struct PreparedHead {
    etag: HeaderValue,
    length: u64,
    /// Those of a 304 first.
    common: Box<[Arc<CommonField>]>,
    not_modified_count: usize,
    /// What an answer varies by that says what went wrong: it is never a delta.
    vary_of_errors: Option<Arc<CommonField>>,
    map: OnceLock<HeaderMap>,
    ready: OnceLock<Box<Ready>>,
}

/// What the engine sends.
struct Ready {
    ok: Arc<engine::PreparedHead>,
    not_modified: Arc<engine::PreparedHead>,
    error: Arc<engine::PreparedHead>,
    /// Whether no cache keeps it for longer than what stands in for something else.
    may_stand_in: bool,
}

impl PreparedHead {
    /// Takes the tag and the length, and of the other fields those that a 304 has too, then those that only a 200 has
    /// (RFC 9110 §15.4.5).
    pub(super) fn new(
        etag: HeaderValue,
        length: u64,
        not_modified: Vec<Arc<CommonField>>,
        more: Vec<Arc<CommonField>>,
        vary_of_errors: Option<Arc<CommonField>>,
    ) -> Self {
        let not_modified_count = not_modified.len();
        let common = not_modified.into_iter().chain(more).collect();
        Self { etag, length, common, not_modified_count, vary_of_errors, map: OnceLock::new(), ready: OnceLock::new() }
    }

    /// The fields of a 200.
    pub fn ok(&self) -> HeaderMap {
        let made = || {
            let mut map = collected(&self.common);
            map.insert(ETAG, self.etag.clone());
            map.insert(CONTENT_LENGTH, HeaderValue::from(self.length));
            map
        };
        self.map.get_or_init(made).clone()
    }

    /// The fields of a page that says what went wrong. It stands in for something else, which has no tag and no ranges,
    /// offers no dictionary and is none.
    pub fn error(&self) -> HeaderMap {
        let mut map = collected(&self.fields_of_errors());
        map.insert(CONTENT_LENGTH, HeaderValue::from(self.length));
        map
    }

    /// The fields of a 304.
    pub fn not_modified(&self) -> HeaderMap {
        let mut map = collected(self.fields_of_not_modified());
        map.insert(ETAG, self.etag.clone());
        map
    }

    fn fields_of_not_modified(&self) -> &[Arc<CommonField>] {
        self.common.get(..self.not_modified_count).unwrap_or_default()
    }

    fn fields_of_errors(&self) -> Vec<Arc<CommonField>> {
        let others = [ACCEPT_RANGES, LINK, USE_AS_DICTIONARY, VARY];
        let common = self.common.iter().filter(|field| !others.contains(&field.name));
        common.chain(&self.vary_of_errors).cloned().collect()
    }

    /// As [`PreparedHead::ok`], for the engine.
    pub(crate) fn ok_ready(&self) -> &Arc<engine::PreparedHead> {
        &self.ready().ok
    }

    /// As [`PreparedHead::not_modified`], for the engine.
    pub(crate) fn not_modified_ready(&self) -> &Arc<engine::PreparedHead> {
        &self.ready().not_modified
    }

    /// As [`PreparedHead::error`], for the engine.
    pub(crate) fn error_ready(&self) -> &Arc<engine::PreparedHead> {
        &self.ready().error
    }

    /// Whether it may be sent as it is in the place of something else.
    pub(crate) fn may_stand_in(&self) -> bool {
        self.ready().may_stand_in
    }

    fn ready(&self) -> &Ready {
        self.ready.get_or_init(|| Box::new(self.made_ready()))
    }

    fn made_ready(&self) -> Ready {
        let length = self.length.to_string();
        let length = (CONTENT_LENGTH.as_str(), length.as_bytes());
        let etag = (ETAG.as_str(), self.etag.as_bytes());
        let shared = |fields: &[Arc<CommonField>]| fields.iter().map(|field| Arc::clone(&field.shared)).collect();
        let cache_control = self.common.iter().find(|field| field.name == CACHE_CONTROL);
        let cache_control = cache_control.map(|field| field.value.as_bytes()).unwrap_or_default();
        // What only a rule has kept is no dictionary where that rule does not hold, such as behind a rewrite.
        let is_kept = dictionary::is_kept(cache_control);
        let is_said = |field: &&Arc<CommonField>| is_kept || field.name != USE_AS_DICTIONARY;
        let of_ok: Vec<_> = self.common.iter().filter(is_said).cloned().collect();
        Ready {
            ok: Arc::new(engine::PreparedHead::new([length, etag], shared(&of_ok))),
            not_modified: Arc::new(engine::PreparedHead::new([etag], shared(self.fields_of_not_modified()))),
            error: Arc::new(engine::PreparedHead::new([length], shared(&self.fields_of_errors()))),
            may_stand_in: cache::instead_of(cache_control, Kept::StandIn).is_none(),
        }
    }
}

fn collected(fields: &[Arc<CommonField>]) -> HeaderMap {
    // Four more than these: tag and length, the date of the last change, and what a range or a custom hostname adds.
    let mut map = HeaderMap::with_capacity(fields.len() + 4);
    for field in fields {
        map.append(field.name.clone(), field.value.clone());
    }
    map
}

/// The head of the answer to what a version does not have, where no rule and no page says anything about it. Made by who
/// answers, at the first miss.
pub(super) struct MissHead {
    fields: Box<[Arc<CommonField>]>,
    made: OnceLock<Arc<engine::PreparedHead>>,
}

impl MissHead {
    /// None yet; it will have as many as it can of `fields`, which other answers of the version have.
    pub(super) const fn new(fields: Box<[Arc<CommonField>]>) -> Self {
        Self { fields, made: OnceLock::new() }
    }

    pub(super) fn get_or_make(&self, make: impl FnOnce() -> HeaderMap) -> &Arc<engine::PreparedHead> {
        self.made.get_or_init(|| {
            let map = make();
            let (own, shared): (Vec<_>, Vec<_>) = map.iter().partition(|(name, _)| *name == CONTENT_LENGTH);
            let known = |name: &HeaderName, value: &HeaderValue| {
                let found = self.fields.iter().find(|field| field.name == *name && field.value == *value);
                found.map(|field| Arc::clone(&field.shared))
            };
            let prepared = |(name, value): (&HeaderName, &HeaderValue)| {
                known(name, value).unwrap_or_else(|| Arc::new(SharedField::new(name.as_str(), value.as_bytes())))
            };
            let shared = shared.into_iter().map(prepared).collect();
            let own = own.into_iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            Arc::new(engine::PreparedHead::new(own, shared))
        })
    }
}
