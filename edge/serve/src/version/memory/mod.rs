//! Memory budgets of apps: for loaded versions, and for the bytes of their files held in memory.
//!
//! A version is charged to its app while loaded, and the load fails once the app is over its budget. Bytes of files are
//! optional: a file without room is read from the store while being sent. Bytes are held once, however many versions
//! and apps share the bytes, but count in full for each app, so that an app's share does not depend on the content of
//! other apps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use devanture_config::limits::Limits;
use devanture_config::{AppName, Digest};
use parking_lot::Mutex;

/// Divisor of an app's budget for the bytes of files, less `VERSIONS_WEIGHT` times the versions' own memory, which is
/// required, and needed twice during a reload: of very many files, fewer are held.
const FILES_SHARE: u64 = 4;
const VERSIONS_WEIGHT: u64 = 6;
/// Divisor of an app's budget that files may always use.
const FILES_SHARE_LEAST: u64 = 16;
/// Estimated memory of the holder of a piece of bytes: the handles of a version, of its app and of all apps, and the
/// table entries of the latter two. Counted like the bytes.
const HOLDER_BYTES: u64 = 192;
/// Divisor of the memory for files that unrequested versions may fill.
const AHEAD_SHARE: u64 = 16;

/// Limit of loaded versions while the memory of the process is not short: unlimited.
const NOT_SHORT: u64 = u64::MAX;

/// Previews that may be evicted to make room for a load, of the same app only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// For a version that goes live: previews, and earlier versions.
    Live,
    /// For any other version: previews.
    Other,
}

/// Share of the memory for files that the files of a version may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// A part: the version is loaded ahead of requests.
    Ahead,
    /// All of the memory.
    Requested,
}

/// Evicts loaded versions.
pub trait Relief: Send + Sync {
    /// Evicts one loaded version of an app; false if the claim may evict no version.
    fn relieve(&self, app: &AppName, claim: Claim) -> bool;
}

/// The app is over its memory budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the loaded versions of the app {app} would take more than {bytes_max} bytes of memory")]
pub struct OverMemory {
    /// The app.
    pub app: AppName,
    /// The budget.
    pub bytes_max: u64,
}

/// Memory used by an app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppUsage {
    /// Bytes in total.
    pub bytes: u64,
    /// Bytes of files, part of the total.
    pub files: u64,
}

/// The memory budgets of all apps.
pub struct Memory {
    apps: Mutex<HashMap<AppName, Weak<AppMemory>>>,
    pool: Arc<Pool>,
}

/// Prefix of a digest: tables of held bytes have an entry for every encoding of every file, and whole digests would
/// take most of the tables' memory. A match is verified with the whole digest.
type Prefix = u64;

/// The part shared by all apps.
struct Pool {
    held: Mutex<HashMap<Prefix, Weak<Held>>>,
    /// Serializes admission, so that concurrent loads cannot exceed a limit together.
    admission: Mutex<()>,
    /// Held bytes of files, each counted once.
    used: AtomicU64,
    /// Bytes of versions without their files, of all apps.
    versions: AtomicU64,
    bytes_max: u64,
    /// Limit of versions and files together; 0 is no limit.
    loaded_bytes_max: u64,
    /// The limit while the memory of the process is short.
    short_bytes_max: AtomicU64,
    /// Limit of the whole process; 0 is no limit.
    process_bytes_max: u64,
    app_bytes_max: u64,
    /// [`HOLDER_BYTES`].
    holder_bytes: u64,
    relief: OnceLock<Box<dyn Relief>>,
}

impl Pool {
    fn is_short(&self) -> bool {
        self.short_bytes_max.load(Ordering::Relaxed) < NOT_SHORT
    }

    /// The charge for a piece of `length` bytes, held or about to be held.
    const fn held_bytes(&self, length: u64) -> u64 {
        length.saturating_add(self.holder_bytes)
    }

    /// The limit for the files of an app with `versions` bytes of versions.
    fn app_files_bytes_max(&self, versions: u64) -> u64 {
        let free = (self.app_bytes_max / FILES_SHARE).saturating_sub(versions.saturating_mul(VERSIONS_WEIGHT));
        free.max(self.app_bytes_max / FILES_SHARE_LEAST)
    }
}

/// A reservation for bytes of a file, until held or dropped.
pub struct Room {
    app: Arc<AppMemory>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.app.pool.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.app.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.app.files.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Held bytes, shared by apps.
struct Held {
    hash: Digest,
    bytes: Box<[u8]>,
    pool: Arc<Pool>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = self.pool.held_bytes(length(&self.bytes));
        self.pool.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The memory budget of one app.
pub struct AppMemory {
    app: AppName,
    pool: Arc<Pool>,
    used: AtomicU64,
    /// The part of `used` for bytes of files.
    files: AtomicU64,
    shares: Mutex<HashMap<Prefix, Weak<Share>>>,
}

/// Held bytes, as counted for one app.
struct Share {
    held: Arc<Held>,
    app: Arc<AppMemory>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let bytes = self.app.pool.held_bytes(length(&self.held.bytes));
        self.app.used.fetch_sub(bytes, Ordering::Relaxed);
        self.app.files.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Makes a [`Share`] the owner of a `Bytes`.
struct Owner(Arc<Share>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.held.bytes
    }
}

impl Memory {
    /// Makes empty budgets with the limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self::with_holders(limits, HOLDER_BYTES)
    }

    fn with_holders(limits: &Limits, holder_bytes: u64) -> Self {
        let pool = Pool {
            held: Mutex::default(),
            admission: Mutex::default(),
            used: AtomicU64::new(0),
            versions: AtomicU64::new(0),
            loaded_bytes_max: limits.loaded_memory_bytes_max,
            short_bytes_max: AtomicU64::new(NOT_SHORT),
            process_bytes_max: limits.process_memory_bytes_max,
            bytes_max: limits.memory_bytes_max,
            app_bytes_max: limits.app_memory_bytes_max,
            holder_bytes,
            relief: OnceLock::new(),
        };
        Self { apps: Mutex::default(), pool: Arc::new(pool) }
    }

    /// Sets the evictor of versions. Only the first call has an effect.
    pub fn relieve_by(&self, relief: Box<dyn Relief>) {
        self.pool.relief.set(relief).ok();
    }

    /// Bytes of all loaded versions with their files; files of several apps count once.
    #[must_use]
    pub fn loaded_bytes(&self) -> u64 {
        self.pool.versions.load(Ordering::Relaxed).saturating_add(self.pool.used.load(Ordering::Relaxed))
    }

    /// Held bytes of files, shared ones counted once, and their limit.
    #[must_use]
    pub fn file_bytes(&self) -> (u64, u64) {
        (self.pool.used.load(Ordering::Relaxed), self.pool.bytes_max)
    }

    /// Limit of all loaded versions with their files; 0 is no limit.
    #[must_use]
    pub fn loaded_bytes_max(&self) -> u64 {
        self.pool.loaded_bytes_max
    }

    /// Limit of the process; 0 is no limit.
    #[must_use]
    pub fn process_bytes_max(&self) -> u64 {
        self.pool.process_bytes_max
    }

    /// Returns true if loaded versions take more than `parts` percent of their common limit.
    #[must_use]
    pub fn is_beyond(&self, parts: u64) -> bool {
        let set = self.pool.loaded_bytes_max;
        let set = if set > 0 { set } else { NOT_SHORT };
        let max = set.min(self.pool.short_bytes_max.load(Ordering::Relaxed));
        max < NOT_SHORT && self.loaded_bytes() > (max / 100).saturating_mul(parts)
    }

    /// Starts a memory shortage of the process: the limit of loaded versions falls to `bytes` below their present use,
    /// and no more files are held until [`Memory::end_shortage`].
    pub fn begin_shortage(&self, bytes: u64) {
        self.pool.short_bytes_max.store(self.loaded_bytes().saturating_sub(bytes), Ordering::Relaxed);
    }

    /// Ends the memory shortage.
    pub fn end_shortage(&self) {
        self.pool.short_bytes_max.store(NOT_SHORT, Ordering::Relaxed);
    }

    /// Returns true if the memory of the process is short.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.pool.is_short()
    }

    /// The budget of an app.
    #[must_use]
    pub fn of(&self, app: &AppName) -> Arc<AppMemory> {
        let mut apps = self.apps.lock();
        if let Some(memory) = apps.get(app).and_then(Weak::upgrade) {
            return memory;
        }
        sweep(&mut apps);
        let memory = Arc::new(AppMemory {
            app: app.clone(),
            pool: Arc::clone(&self.pool),
            used: AtomicU64::new(0),
            files: AtomicU64::new(0),
            shares: Mutex::default(),
        });
        apps.insert(app.clone(), Arc::downgrade(&memory));
        memory
    }

    /// The memory of each app with loaded content.
    #[must_use]
    pub fn usage(&self) -> Vec<(AppName, AppUsage)> {
        let apps = self.apps.lock();
        apps.iter().filter_map(|(app, memory)| Some((app.clone(), memory.upgrade()?.usage()))).collect()
    }
}

impl AppMemory {
    /// The memory in use.
    #[must_use]
    pub fn usage(&self) -> AppUsage {
        AppUsage { bytes: self.used.load(Ordering::Relaxed), files: self.files.load(Ordering::Relaxed) }
    }

    /// Starts an empty charge.
    #[must_use]
    pub fn charge(self: &Arc<Self>, claim: Claim) -> Charge {
        Charge { app: Arc::clone(self), bytes: AtomicU64::new(0), claim }
    }

    /// The bytes with the hash `hash`, if held for the app, or held for another app and within the app's budget.
    #[must_use]
    pub fn share(self: &Arc<Self>, hash: Digest) -> Option<Bytes> {
        let own = self.shares.lock().get(&prefix(&hash)).and_then(Weak::upgrade);
        if let Some(share) = own.filter(|share| share.held.hash == hash) {
            return Some(Bytes::from_owner(Owner(share)));
        }
        let held = found(&self.pool.held.lock(), &hash)?;
        // Admitted as if held by no other app, even while memory is short: shared bytes take no memory.
        let _room = self.room_beside(length(&held.bytes), 0, self.pool.bytes_max)?;
        Some(self.take(held))
    }

    /// Reserves `more` bytes for a file, if the total and the app's budget permit and the app leaves at least as many
    /// bytes of the total free as the app holds. `None` while the memory of the process is short.
    #[must_use]
    pub fn room(self: &Arc<Self>, more: u64) -> Option<Room> {
        self.free_room(more, 0, self.pool.bytes_max)
    }

    /// Reserves room as [`AppMemory::room`] does, within the share of the version.
    #[must_use]
    pub fn room_in(self: &Arc<Self>, fill: Fill, more: u64) -> Option<Room> {
        match fill {
            Fill::Ahead => self.free_room(more, 0, self.pool.bytes_max / AHEAD_SHARE),
            Fill::Requested => self.room(more),
        }
    }

    /// Reserves room as [`AppMemory::room`] does, but keeps a quarter of one app's maximum free for more important
    /// bytes.
    #[must_use]
    pub fn room_to_spare(self: &Arc<Self>, more: u64) -> Option<Room> {
        self.free_room(more, self.pool.bytes_max / 8, self.pool.bytes_max)
    }

    fn free_room(self: &Arc<Self>, more: u64, spare: u64, bytes_max: u64) -> Option<Room> {
        if self.pool.is_short() {
            return None;
        }
        self.room_beside(more, spare, bytes_max)
    }

    /// Returns true if the memory of the process is short.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.pool.is_short()
    }

    /// Room within the first `bytes_max` bytes of the total.
    fn room_beside(self: &Arc<Self>, more: u64, spare: u64, bytes_max: u64) -> Option<Room> {
        let pool = &self.pool;
        let _admission = pool.admission.lock();
        let more = pool.held_bytes(more);
        let (AppUsage { bytes, files }, wanted) = (self.usage(), more.saturating_add(spare));
        let files_max = pool.app_files_bytes_max(bytes.saturating_sub(files));
        let (bytes, files) = (bytes.saturating_add(wanted), files.saturating_add(wanted));
        let free = bytes_max.checked_sub(pool.used.load(Ordering::Relaxed).saturating_add(wanted))?;
        if files > free || bytes > pool.app_bytes_max || files > files_max {
            return None;
        }
        pool.used.fetch_add(more, Ordering::Relaxed);
        self.used.fetch_add(more, Ordering::Relaxed);
        self.files.fetch_add(more, Ordering::Relaxed);
        Some(Room { app: Arc::clone(self), bytes: more })
    }

    /// Holds `bytes` of the hash `hash` for the lifetime of the result, in place of their reservation.
    #[must_use]
    pub fn hold(self: &Arc<Self>, hash: Digest, bytes: Bytes, room: Room) -> Bytes {
        if let Some(shared) = self.share(hash) {
            return shared;
        }
        // Without a buffer's spare capacity: most files are short and numerous.
        let bytes = Vec::from(bytes).into_boxed_slice();
        let held = {
            let mut known = self.pool.held.lock();
            match found(&known, &hash) {
                Some(held) => held,
                None => {
                    self.pool.used.fetch_add(self.pool.held_bytes(length(&bytes)), Ordering::Relaxed);
                    let held = Arc::new(Held { hash, bytes, pool: Arc::clone(&self.pool) });
                    sweep(&mut known);
                    known.insert(prefix(&hash), Arc::downgrade(&held));
                    held
                }
            }
        };
        let taken = self.take(held);
        // Last, so that no other load takes the room in between.
        drop(room);
        taken
    }

    fn take(self: &Arc<Self>, held: Arc<Held>) -> Bytes {
        let (bytes, prefix) = (self.pool.held_bytes(length(&held.bytes)), prefix(&held.hash));
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.files.fetch_add(bytes, Ordering::Relaxed);
        let share = Arc::new(Share { held, app: Arc::clone(self) });
        let mut shares = self.shares.lock();
        sweep(&mut shares);
        shares.insert(prefix, Arc::downgrade(&share));
        drop(shares);
        Bytes::from_owner(Owner(share))
    }

    /// Adds to the memory in use, within the budget.
    fn try_use(&self, bytes: u64) -> bool {
        let max = self.pool.app_bytes_max;
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= max);
        let has_room = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if has_room {
            self.pool.versions.fetch_add(bytes, Ordering::Relaxed);
        }
        has_room
    }
}

/// Memory charged to an app until dropped.
pub struct Charge {
    app: Arc<AppMemory>,
    bytes: AtomicU64,
    claim: Claim,
}

impl Charge {
    /// Charges `bytes` more, and evicts other versions if necessary.
    ///
    /// # Errors
    /// [`OverMemory`] if no version is left to evict.
    pub fn grow(&self, bytes: u64) -> Result<(), OverMemory> {
        while !self.app.try_use(bytes) {
            let relief = self.app.pool.relief.get();
            if !relief.is_some_and(|relief| relief.relieve(&self.app.app, self.claim)) {
                return Err(OverMemory { app: self.app.app.clone(), bytes_max: self.app.pool.app_bytes_max });
            }
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Charges `bytes` more even beyond the budget; the next load then has less room.
    pub fn add(&self, bytes: u64) {
        self.app.used.fetch_add(bytes, Ordering::Relaxed);
        self.app.pool.versions.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The bytes charged so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The app's budget.
    #[must_use]
    pub const fn app(&self) -> &Arc<AppMemory> {
        &self.app
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.app.used.fetch_sub(self.bytes(), Ordering::Relaxed);
        self.app.pool.versions.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

/// Removes dead entries when the map is about to grow, so that the amortized cost of an insertion stays constant.
fn sweep<K, V>(map: &mut HashMap<K, Weak<V>>) {
    if map.len() == map.capacity() {
        map.retain(|_, value| value.strong_count() > 0);
    }
}

/// The held bytes of a hash.
fn found(held: &HashMap<Prefix, Weak<Held>>, hash: &Digest) -> Option<Arc<Held>> {
    held.get(&prefix(hash)).and_then(Weak::upgrade).filter(|held| held.hash == *hash)
}

fn prefix(hash: &Digest) -> Prefix {
    hash.as_bytes().first_chunk().map_or(0, |first| Prefix::from_le_bytes(*first))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
