//! Heads that are made before anybody asks: of each encoding of each file, and of the miss that a version answers most.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use devanture_config::Digest;
use devanture_config::heap::{HeapBytes, allocated};
use devanture_site::cache::{self, Kept};
use devanture_site::dictionary;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, ETAG, LINK, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::Charge;
use crate::engine::{self, SharedField, SharedFields};

/// Capacity of a map of fields: those of a file, `etag`, `content-length`, `last-modified`, and what a range, a custom
/// hostname or a rule adds.
const FIELDS_EXPECTED: usize = 16;

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

    /// Its memory: as name and value here and in the table of all, and encoded.
    fn bytes(&self) -> usize {
        let texts = allocated(self.name.as_str().len()) + allocated(self.value.len());
        allocated(size_of::<Self>() + COUNTS_BYTES) + texts + self.shared.bytes() + ENTRY_BYTES
    }
}

/// The fields of all loaded versions, held weakly: but for the version's id, most versions have the same ones.
static FIELDS: LazyLock<Mutex<KnownFields>> = LazyLock::new(Mutex::default);

/// Fields by name and value.
type KnownFields = HashMap<(HeaderName, HeaderValue), Weak<CommonField>>;

/// The field of that name and value, prepared once for all versions that are loaded.
fn common(name: &HeaderName, value: &HeaderValue) -> Arc<CommonField> {
    let mut fields = FIELDS.lock();
    let key = (name.clone(), value.clone());
    if let Some(known) = fields.get(&key).and_then(Weak::upgrade) {
        return known;
    }
    if fields.len() == fields.capacity() {
        fields.retain(|_, field| field.strong_count() > 0);
    }
    let made = Arc::new(CommonField::new(name.clone(), value.clone()));
    fields.insert(key, Arc::downgrade(&made));
    made
}

/// The fields of a version while it is loaded. Equal fields, and equal lists of fields, are prepared once.
pub(super) struct FieldPool {
    charge: Arc<Charge>,
    fields: Mutex<HashMap<(HeaderName, HeaderValue), Arc<CommonField>>>,
    /// Keyed by the addresses of the fields, which the pool keeps alive.
    lists: Mutex<HashMap<ListKey, Arc<FieldList>>>,
}

/// The fields of a list, how many of them a 304 has, and the `vary` of errors.
type ListKey = (Box<[usize]>, usize, Option<usize>);

impl FieldPool {
    /// Makes an empty pool. Heads that are encoded later, at the first request, are charged to `charge`.
    pub(super) fn new(charge: &Arc<Charge>) -> Self {
        Self { charge: Arc::clone(charge), fields: Mutex::default(), lists: Mutex::default() }
    }

    /// The field of that name and value.
    pub(super) fn field(&self, name: HeaderName, value: HeaderValue) -> Arc<CommonField> {
        let mut known = self.fields.lock();
        let made = known.entry((name, value)).or_insert_with_key(|(name, value)| common(name, value));
        Arc::clone(made)
    }

    /// The list of these fields of the pool: those that a 304 has too, those that only a 200 has (RFC 9110 §15.4.5), and the
    /// `vary` of errors.
    pub(super) fn list(
        &self,
        not_modified: Vec<Arc<CommonField>>,
        more: Vec<Arc<CommonField>>,
        vary_of_errors: Option<Arc<CommonField>>,
    ) -> Arc<FieldList> {
        let not_modified_count = not_modified.len();
        let fields: Box<[_]> = not_modified.into_iter().chain(more).collect();
        let address = |field: &Arc<CommonField>| Arc::as_ptr(field).addr();
        let key = (fields.iter().map(address).collect(), not_modified_count, vary_of_errors.as_ref().map(address));
        let mut known = self.lists.lock();
        let made = || FieldList::new(fields, not_modified_count, vary_of_errors, Arc::clone(&self.charge));
        Arc::clone(known.entry(key).or_insert_with(|| Arc::new(made())))
    }

    /// All fields.
    pub(super) fn into_fields(self) -> Box<[Arc<CommonField>]> {
        self.fields.into_inner().into_values().collect()
    }
}

impl HeapBytes for FieldPool {
    fn heap_bytes(&self) -> usize {
        let fields = self.fields.lock();
        let own = fields.values().filter(|field| Arc::strong_count(field) < COMMON_HOLDERS_MIN);
        let lists = self.lists.lock();
        own.map(|field| field.bytes()).sum::<usize>() + lists.values().map(|list| list.bytes()).sum::<usize>()
    }
}

/// A field that so many lists have is one of all versions: none is charged for it. Their places in the lists, for which
/// each is, take many times as much.
const COMMON_HOLDERS_MIN: usize = 1_000;
/// Estimated size of the entry of a field in the table of all.
const ENTRY_BYTES: usize = 2 * size_of::<((HeaderName, HeaderValue), Weak<CommonField>)>();
/// Size of the counts of an `Arc`.
const COUNTS_BYTES: usize = 16;
/// Estimated size of a map of fields: names, values, and the table that finds them.
const MAP_BYTES: u64 = (FIELDS_EXPECTED * 128) as u64;
/// Estimated size of an encoded head without its list: tag and length, for both protocols.
const MADE_BYTES: u64 = 256;

/// The fields that many representations share: all but `etag`, `content-length`, `date` and `last-modified`.
pub(super) struct FieldList {
    /// Those of a 304 first.
    fields: Box<[Arc<CommonField>]>,
    not_modified_count: usize,
    /// The `vary` of error pages, which are never deltas.
    vary_of_errors: Option<Arc<CommonField>>,
    /// Whether its `cache-control` is short enough for an answer that stands in for another one.
    may_stand_in: bool,
    /// The fields of a 200, encoded for the engine.
    ok: OnceLock<Arc<SharedFields>>,
    seldom: OnceLock<Box<SeldomListed>>,
    charge: Arc<Charge>,
}

/// Forms of a list that few representations need.
#[derive(Default)]
struct SeldomListed {
    /// The fields of a 200, as a map.
    map: OnceLock<HeaderMap>,
    /// The fields of other kinds of answers, encoded for the engine.
    not_modified: OnceLock<Arc<SharedFields>>,
    error: OnceLock<Arc<SharedFields>>,
}

impl FieldList {
    fn new(
        fields: Box<[Arc<CommonField>]>,
        not_modified_count: usize,
        vary_of_errors: Option<Arc<CommonField>>,
        charge: Arc<Charge>,
    ) -> Self {
        let may_stand_in = cache::instead_of(cache_control(&fields), Kept::StandIn).is_none();
        let (ok, seldom) = (OnceLock::new(), OnceLock::new());
        Self { fields, not_modified_count, vary_of_errors, may_stand_in, ok, seldom, charge }
    }

    /// Its memory, without the forms that are made at the first request.
    fn bytes(&self) -> usize {
        allocated(size_of::<Self>() + COUNTS_BYTES) + allocated(size_of_val::<[Arc<CommonField>]>(&self.fields))
    }

    fn of_ok(&self) -> impl Iterator<Item = &Arc<CommonField>> {
        // What only a rule has kept is no dictionary where that rule does not hold, such as behind a rewrite.
        let is_kept = dictionary::is_kept(cache_control(&self.fields));
        self.fields.iter().filter(move |field| is_kept || field.name != USE_AS_DICTIONARY)
    }

    fn of_not_modified(&self) -> &[Arc<CommonField>] {
        self.fields.get(..self.not_modified_count).unwrap_or_default()
    }

    fn of_errors(&self) -> impl Iterator<Item = &Arc<CommonField>> {
        let others = [ACCEPT_RANGES, LINK, USE_AS_DICTIONARY, VARY];
        self.fields.iter().filter(move |field| !others.contains(&field.name)).chain(&self.vary_of_errors)
    }

    fn map(&self) -> HeaderMap {
        let made = || {
            self.charge.add(MAP_BYTES);
            collected(self.fields.iter())
        };
        self.seldom().map.get_or_init(made).clone()
    }

    fn ok(&self) -> &Arc<SharedFields> {
        self.ok.get_or_init(|| self.encoded(self.of_ok()))
    }

    fn not_modified(&self) -> &Arc<SharedFields> {
        self.seldom().not_modified.get_or_init(|| self.encoded(self.of_not_modified().iter()))
    }

    fn error(&self) -> &Arc<SharedFields> {
        self.seldom().error.get_or_init(|| self.encoded(self.of_errors()))
    }

    fn seldom(&self) -> &SeldomListed {
        self.seldom.get_or_init(|| {
            self.charge.add(size_of::<SeldomListed>() as u64);
            Box::default()
        })
    }

    #[cold]
    fn encoded<'f>(&self, fields: impl Iterator<Item = &'f Arc<CommonField>>) -> Arc<SharedFields> {
        let encoded = SharedFields::new(fields.map(|field| Arc::clone(&field.shared)).collect());
        self.charge.add(encoded.bytes() as u64);
        Arc::new(encoded)
    }
}

fn cache_control(fields: &[Arc<CommonField>]) -> &[u8] {
    let found = fields.iter().find(|field| field.name == CACHE_CONTROL);
    found.map(|field| field.value.as_bytes()).unwrap_or_default()
}

fn collected<'f>(fields: impl Iterator<Item = &'f Arc<CommonField>>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(FIELDS_EXPECTED);
    for field in fields {
        map.append(field.name.clone(), field.value.clone());
    }
    map
}

/// Hex characters of a hash in an entity tag: 128 bits.
const ETAG_CHARACTERS: usize = 32;

/// A strong entity tag, quotes included. Stored inline, as a version may have several hundred thousand of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag([u8; ETAG_CHARACTERS + 2]);

impl EntityTag {
    /// The tag of a representation with this hash.
    #[must_use]
    pub fn of(hash: &Digest) -> Self {
        let mut tag = [b'"'; ETAG_CHARACTERS + 2];
        for (place, character) in tag.iter_mut().skip(1).zip(hash.to_string().bytes().take(ETAG_CHARACTERS)) {
            *place = character;
        }
        Self(tag)
    }

    /// The tag as a field value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // It holds quotes and hex digits only.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }
}

/// The fields of a representation's answers, but for `date` and `last-modified`.
///
/// Kept in what they cost to hold, for the many files that nobody asks for in a while; what a response is begun with is
/// made at the first request.
pub struct PreparedHead {
    etag: EntityTag,
    length: u64,
    common: Arc<FieldList>,
    ok: OnceLock<Arc<engine::PreparedHead>>,
    seldom: OnceLock<Box<SeldomSent>>,
}

/// Heads that few representations need.
#[derive(Default)]
struct SeldomSent {
    not_modified: OnceLock<Arc<engine::PreparedHead>>,
    error: OnceLock<Arc<engine::PreparedHead>>,
}

impl PreparedHead {
    /// Makes a head of the tag, the length, and the shared fields.
    pub(super) const fn new(etag: EntityTag, length: u64, common: Arc<FieldList>) -> Self {
        Self { etag, length, common, ok: OnceLock::new(), seldom: OnceLock::new() }
    }

    /// The entity tag.
    #[must_use]
    pub const fn etag(&self) -> &EntityTag {
        &self.etag
    }

    /// The fields of a 200.
    pub fn ok(&self) -> HeaderMap {
        let mut map = self.common.map();
        map.insert(ETAG, self.etag.value());
        map.insert(CONTENT_LENGTH, HeaderValue::from(self.length));
        map
    }

    /// The fields of a page that says what went wrong. It stands in for something else, which has no tag and no ranges,
    /// offers no dictionary and is none.
    pub fn error(&self) -> HeaderMap {
        let mut map = collected(self.common.of_errors());
        map.insert(CONTENT_LENGTH, HeaderValue::from(self.length));
        map
    }

    /// The fields of a 304.
    pub fn not_modified(&self) -> HeaderMap {
        let mut map = collected(self.common.of_not_modified().iter());
        map.insert(ETAG, self.etag.value());
        map
    }

    /// As [`PreparedHead::ok`], for the engine.
    #[inline]
    pub(crate) fn ok_ready(&self) -> &Arc<engine::PreparedHead> {
        self.ok.get_or_init(|| self.made((true, true), self.common.ok()))
    }

    /// As [`PreparedHead::not_modified`], for the engine.
    pub(crate) fn not_modified_ready(&self) -> &Arc<engine::PreparedHead> {
        self.seldom().not_modified.get_or_init(|| self.made((false, true), self.common.not_modified()))
    }

    /// As [`PreparedHead::error`], for the engine.
    pub(crate) fn error_ready(&self) -> &Arc<engine::PreparedHead> {
        self.seldom().error.get_or_init(|| self.made((true, false), self.common.error()))
    }

    /// Whether it may be sent as it is in the place of something else.
    pub(crate) fn may_stand_in(&self) -> bool {
        self.common.may_stand_in
    }

    fn seldom(&self) -> &SeldomSent {
        self.seldom.get_or_init(Box::default)
    }

    #[cold]
    fn made(&self, (length, etag): (bool, bool), shared: &Arc<SharedFields>) -> Arc<engine::PreparedHead> {
        self.common.charge.add(MADE_BYTES);
        let text = self.length.to_string();
        let length = length.then(|| (CONTENT_LENGTH.as_str(), text.as_bytes()));
        let etag = etag.then(|| (ETAG.as_str(), self.etag.as_str().as_bytes()));
        Arc::new(engine::PreparedHead::with(length.into_iter().chain(etag), Arc::clone(shared)))
    }
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
