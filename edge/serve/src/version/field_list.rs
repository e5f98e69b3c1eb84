//! Response fields shared by many responses, and lists of fields. Nearly all versions have the same fields except for
//! the version's id, which no list contains: each field is prepared once, for all loaded versions.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use devanture_config::heap::{HeapBytes, allocated};
use devanture_site::cache::{self, Kept};
use devanture_site::dictionary;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, LINK, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;

use super::Charge;
use devanture_http::{SharedField, SharedFields};

/// Capacity of a map of fields: the fields of a file, `etag`, `content-length`, `last-modified`, and the fields of a
/// range, a custom hostname or a rule.
const FIELDS_EXPECTED: usize = 16;
/// Holders above which a field or list is common to many versions or files, and charged to no holder. The holders
/// themselves are charged, and take many times as much.
const COMMON_HOLDERS_MIN: usize = 100;
/// Estimated size of a field's entry in the common table.
const ENTRY_BYTES: usize = 2 * size_of::<((HeaderName, HeaderValue), Weak<CommonField>)>();
/// Estimated size of a list's entry, with the memory that its key owns.
const LIST_ENTRY_BYTES: usize = 2 * size_of::<(ListKey, Weak<FieldList>)>() + size_of::<[usize; 8]>();
/// Size of the counts of an `Arc`.
const COUNTS_BYTES: usize = 16;
/// Estimated size of a map of fields: names, values, and the hash table.
const MAP_BYTES: u64 = (FIELDS_EXPECTED * 128) as u64;

/// Declares the later requests for which a response serves as the dictionary (RFC 9842 §2.1).
pub const USE_AS_DICTIONARY: HeaderName = HeaderName::from_static("use-as-dictionary");

/// The fields of all loaded versions, by weak references.
static FIELDS: LazyLock<WeakTable<FieldKey, CommonField>> = LazyLock::new(WeakTable::default);
/// The lists of all loaded versions, by weak references. A list keeps its fields alive, so their addresses are unique
/// for as long as the list lives.
static LISTS: LazyLock<WeakTable<ListKey, FieldList>> = LazyLock::new(WeakTable::default);

/// Turns the fields of one kind of response, of the given status, into the fields of another kind.
pub(super) type Change = fn(&mut HeaderMap, StatusCode);

/// The name and the value of a field.
type FieldKey = (HeaderName, HeaderValue);
/// The addresses of the fields of a list, the number of its fields in a 304, and the `vary` of errors.
type ListKey = (Box<[usize]>, usize, Option<usize>);

/// Values prepared once for all versions, by weak references.
struct WeakTable<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K, V> Default for WeakTable<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V> WeakTable<K, V> {
    /// The value of a key, made if absent.
    fn get_or_make(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut known = self.0.lock();
        if let Some(value) = known.get(&key).and_then(Weak::upgrade) {
            return value;
        }
        // Bounded by the loaded versions: dead entries are removed before the table grows.
        if known.len() == known.capacity() {
            known.retain(|_, value| value.strong_count() > 0);
        }
        let made = Arc::new(make());
        known.insert(key, Arc::downgrade(&made));
        made
    }
}

/// A field common to many responses, prepared for both the engine and a header map.
#[derive(Debug)]
pub struct CommonField {
    name: HeaderName,
    value: HeaderValue,
    shared: Arc<SharedField>,
}

impl CommonField {
    /// Prepares a field.
    #[must_use]
    pub fn new(name: HeaderName, value: HeaderValue) -> Self {
        let shared = Arc::new(SharedField::new(name.as_str(), value.as_bytes()));
        Self { name, value, shared }
    }

    /// The value, for a map.
    #[must_use]
    pub const fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// The field, for the engine.
    #[must_use]
    pub const fn shared(&self) -> &Arc<SharedField> {
        &self.shared
    }

    /// Returns true for the field of that name and value.
    pub(super) fn is(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        self.name == *name && self.value == *value
    }

    /// The memory: name and value here and in the common table, and encoded.
    fn bytes(&self) -> usize {
        let texts = allocated(self.name.as_str().len()) + allocated(self.value.len());
        allocated(size_of::<Self>() + COUNTS_BYTES) + texts + self.shared.bytes() + ENTRY_BYTES
    }
}

/// The fields and lists of a version during its load, mostly shared with other versions.
#[derive(Default)]
pub(super) struct FieldPool {
    fields: Mutex<HashMap<FieldKey, Arc<CommonField>>>,
    lists: Mutex<HashMap<ListKey, Arc<FieldList>>>,
}

impl FieldPool {
    /// The field of a name and value.
    pub(super) fn field(&self, name: HeaderName, value: HeaderValue) -> Arc<CommonField> {
        let mut known = self.fields.lock();
        let made = known.entry((name, value)).or_insert_with_key(|(name, value)| {
            let made = || CommonField::new(name.clone(), value.clone());
            FIELDS.get_or_make((name.clone(), value.clone()), made)
        });
        Arc::clone(made)
    }

    /// The list of fields of the pool: fields of a 200 and a 304, fields of a 200 alone (RFC 9110 §15.4.5), and the
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
        let made = known.entry(key).or_insert_with_key(|key| {
            LISTS.get_or_make(key.clone(), || FieldList::new(fields, not_modified_count, vary_of_errors))
        });
        Arc::clone(made)
    }

    /// All fields.
    pub(super) fn into_fields(self) -> Box<[Arc<CommonField>]> {
        self.fields.into_inner().into_values().collect()
    }
}

impl HeapBytes for FieldPool {
    fn heap_bytes(&self) -> usize {
        let (fields, lists) = (self.fields.lock(), self.lists.lock());
        let fields = fields.values().filter(|field| Arc::strong_count(field) < COMMON_HOLDERS_MIN);
        let lists = lists.values().filter(|list| Arc::strong_count(list) < COMMON_HOLDERS_MIN);
        fields.map(|field| field.bytes()).sum::<usize>() + lists.map(|list| list.bytes()).sum::<usize>()
    }
}

/// The fields shared by many representations: all except `etag`, `content-length`, `date`, `last-modified` and the
/// field that names the version.
pub(super) struct FieldList {
    /// Fields of a 304 first.
    fields: Box<[Arc<CommonField>]>,
    not_modified_count: usize,
    /// The `vary` of error pages, which are never deltas.
    vary_of_errors: Option<Arc<CommonField>>,
    /// True if the `cache-control` is short enough for a stand-in.
    may_stand_in: bool,
    /// The fields of a 200, encoded for the engine.
    ok: OnceLock<Arc<SharedFields>>,
    seldom: OnceLock<Box<SeldomListed>>,
}

/// Forms of a list that few representations need.
#[derive(Default)]
struct SeldomListed {
    /// The fields of a 200, as a map.
    map: OnceLock<HeaderMap>,
    /// The fields of other kinds of responses, encoded for the engine.
    not_modified: OnceLock<Arc<SharedFields>>,
    error: OnceLock<Arc<SharedFields>>,
    /// The fields for a version chosen by a cookie.
    chosen: OnceLock<Arc<SharedFields>>,
    chosen_not_modified: OnceLock<Arc<SharedFields>>,
}

impl FieldList {
    fn new(
        fields: Box<[Arc<CommonField>]>,
        not_modified_count: usize,
        vary_of_errors: Option<Arc<CommonField>>,
    ) -> Self {
        let may_stand_in = cache::instead_of(cache_control(&fields), Kept::StandIn).is_none();
        let (ok, seldom) = (OnceLock::new(), OnceLock::new());
        Self { fields, not_modified_count, vary_of_errors, may_stand_in, ok, seldom }
    }

    /// The memory: the list, its entry in the common table, and the forms already made for other versions. A form made
    /// later is charged to the version that needs the form.
    fn bytes(&self) -> usize {
        let own = allocated(size_of::<Self>() + COUNTS_BYTES) + LIST_ENTRY_BYTES;
        let seldom = self.seldom.get().map_or(0, |seldom| {
            let encoded = [&seldom.not_modified, &seldom.error, &seldom.chosen, &seldom.chosen_not_modified];
            let encoded = encoded.into_iter().filter_map(OnceLock::get);
            let map = seldom.map.get().map_or(0, |_| usize::try_from(MAP_BYTES).unwrap_or(usize::MAX));
            size_of::<SeldomListed>() + map + encoded.map(|encoded| encoded.bytes()).sum::<usize>()
        });
        let ok = self.ok.get().map_or(0, |encoded| encoded.bytes());
        own + allocated(size_of_val::<[Arc<CommonField>]>(&self.fields)) + ok + seldom
    }

    pub(super) const fn may_stand_in(&self) -> bool {
        self.may_stand_in
    }

    fn of_ok(&self) -> impl Iterator<Item = &Arc<CommonField>> {
        // A file kept by a rule alone is no dictionary where the rule does not apply, such as behind a rewrite.
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

    /// The fields of a 200, as a map with room for more. Here and below, the memory of a new form is charged to
    /// `charge`.
    pub(super) fn map(&self, charge: &Charge) -> HeaderMap {
        let made = || {
            charge.add(MAP_BYTES);
            collected(self.fields.iter())
        };
        self.seldom(charge).map.get_or_init(made).clone()
    }

    /// The fields of a 304, as a map with room for more.
    pub(super) fn map_of_not_modified(&self) -> HeaderMap {
        collected(self.of_not_modified().iter())
    }

    /// The fields of an error page, as a map with room for more.
    pub(super) fn map_of_error(&self) -> HeaderMap {
        collected(self.of_errors())
    }

    pub(super) fn ok(&self, charge: &Charge) -> &Arc<SharedFields> {
        self.ok.get_or_init(|| encoded(self.of_ok(), charge))
    }

    pub(super) fn not_modified(&self, charge: &Charge) -> &Arc<SharedFields> {
        self.seldom(charge).not_modified.get_or_init(|| encoded(self.of_not_modified().iter(), charge))
    }

    pub(super) fn error(&self, charge: &Charge) -> &Arc<SharedFields> {
        self.seldom(charge).error.get_or_init(|| encoded(self.of_errors(), charge))
    }

    /// The fields of a 200 for a version chosen by a cookie, derived by `change` from the usual fields.
    pub(super) fn chosen(&self, charge: &Charge, change: Change) -> &Arc<SharedFields> {
        let made = || changed(collected(self.fields.iter()), change, (StatusCode::OK, charge));
        self.seldom(charge).chosen.get_or_init(made)
    }

    /// The fields of a 304 for a version chosen by a cookie.
    pub(super) fn chosen_not_modified(&self, charge: &Charge, change: Change) -> &Arc<SharedFields> {
        let made = || changed(self.map_of_not_modified(), change, (StatusCode::NOT_MODIFIED, charge));
        self.seldom(charge).chosen_not_modified.get_or_init(made)
    }

    fn seldom(&self, charge: &Charge) -> &SeldomListed {
        self.seldom.get_or_init(|| {
            charge.add(size_of::<SeldomListed>() as u64);
            Box::default()
        })
    }
}

#[cold]
fn encoded<'f>(fields: impl Iterator<Item = &'f Arc<CommonField>>, charge: &Charge) -> Arc<SharedFields> {
    let encoded = SharedFields::new(fields.map(|field| Arc::clone(&field.shared)).collect());
    charge.add(encoded.bytes() as u64);
    Arc::new(encoded)
}

#[cold]
fn changed(mut map: HeaderMap, change: Change, (status, charge): (StatusCode, &Charge)) -> Arc<SharedFields> {
    change(&mut map, status);
    let fields = map.iter().map(|(name, value)| Arc::new(SharedField::new(name.as_str(), value.as_bytes())));
    let encoded = SharedFields::new(fields.collect());
    charge.add(encoded.bytes() as u64);
    Arc::new(encoded)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of a 200 with the media type `media_type`, in the pool of another version.
    fn list(pool: &FieldPool, media_type: &'static str) -> Arc<FieldList> {
        let field = |name, value| pool.field(name, HeaderValue::from_static(value));
        let not_modified = vec![field(CACHE_CONTROL, "no-store"), field(VARY, "accept-encoding")];
        pool.list(not_modified, vec![field(http::header::CONTENT_TYPE, media_type)], None)
    }

    #[test]
    fn versions_with_equal_fields_share_one_list_until_the_last_of_them_is_gone() {
        let (one, other) = (FieldPool::default(), FieldPool::default());
        let first = list(&one, "text/x-shared");
        assert!(
            Arc::ptr_eq(&first, &list(&one, "text/x-shared")) && Arc::ptr_eq(&first, &list(&other, "text/x-shared"))
        );
        assert!(!Arc::ptr_eq(&first, &list(&one, "text/x-other")));
        let address = Arc::as_ptr(&first).addr();
        drop((first, one));
        assert_eq!(Arc::as_ptr(&list(&other, "text/x-shared")).addr(), address, "one version still has it");
        let left = Arc::downgrade(&list(&other, "text/x-shared"));
        drop(other);
        assert!(left.upgrade().is_none(), "nobody has it");
        assert_eq!(list(&FieldPool::default(), "text/x-shared").map_of_error().len(), 2, "it is made again");
    }

    #[test]
    fn a_version_is_charged_for_its_lists_until_many_have_them() {
        let pool = || {
            let pool = FieldPool::default();
            list(&pool, "text/x-charged");
            pool
        };
        let first = pool();
        let bytes = first.heap_bytes();
        assert!(bytes > 500 && pool().heap_bytes() == bytes, "{bytes}");
        let others: Vec<FieldPool> = (0..COMMON_HOLDERS_MIN).map(|_| pool()).collect();
        assert_eq!((first.heap_bytes(), pool().heap_bytes()), (0, 0));
        drop(others);
        assert_eq!(first.heap_bytes(), bytes);
    }

    #[test]
    fn what_nobody_has_leaves_the_table_before_it_grows() {
        let known: WeakTable<usize, usize> = WeakTable::default();
        for number in 0..10_000 {
            drop(known.get_or_make(number, || number));
        }
        assert!(known.0.lock().capacity() < 100);
    }
}
