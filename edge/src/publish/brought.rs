//! What archives bring that fail: the files of each are stored before it is known that it cannot be taken, and lie
//! there until a collection takes them. Of one app they are at most as many bytes as it may store.

use std::collections::HashMap;
use std::sync::Arc;

use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest};
use parking_lot::Mutex;

use super::owned::{Owned, SentBlobs};
use crate::archive::Count;
use crate::ledger::Error;

/// Files of one app that are noted at the most: each takes memory, however short it is.
const FILES_MAX: usize = 1_000_000;

/// Files of archives that failed, with their sizes, by app.
#[derive(Default)]
pub(super) struct Leftovers(Mutex<HashMap<AppName, HashMap<Digest, u64>>>);

impl Leftovers {
    /// Forgets blobs that are no longer stored.
    pub(super) fn forget(&self, gone: &[Digest]) {
        self.0.lock().retain(|_, blobs| {
            for digest in gone {
                blobs.remove(digest);
            }
            !blobs.is_empty()
        });
    }

    /// Forgets those of an app.
    pub(super) fn forget_app(&self, app: &AppName) {
        self.0.lock().remove(app);
    }
}

/// The files of an archive that comes in. Dropped before [`Brought::taken`], they are left over.
pub(super) struct Brought {
    app: AppName,
    /// Bytes that the app may store; 0 is no limit, and nothing is counted.
    max: u64,
    sent: SentBlobs,
    leftovers: Arc<Leftovers>,
    /// Bytes of what was left over before, and of `new`.
    bytes: u64,
    new: HashMap<Digest, u64>,
}

impl Brought {
    /// Begins to count what comes for an app that may store `max` bytes.
    ///
    /// # Errors
    /// `storage_full` where so much is left over already; where it cannot be read what the app has sent.
    pub(super) async fn begin(
        (owned, leftovers): (&Owned, &Arc<Leftovers>),
        app: &AppName,
        max: u64,
    ) -> Result<Self, Error> {
        let sent = owned.sent_by(app).await?;
        let bytes = match leftovers.0.lock().get_mut(app) {
            Some(left) => {
                // What the app has had stored since is among its own.
                left.retain(|digest, _| !sent.contains(digest));
                left.values().copied().fold(0, u64::saturating_add)
            }
            None => 0,
        };
        let leftovers = Arc::clone(leftovers);
        let brought = Self { app: app.clone(), max, sent, leftovers, bytes, new: HashMap::new() };
        if max > 0 && bytes >= max { Err(brought.full()) } else { Ok(brought) }
    }

    /// The archive is a push, by which its files are the app's.
    pub(super) fn taken(mut self) {
        self.new.clear();
    }

    fn full(&self) -> Error {
        let (app, left, max) = (&self.app, counted(self.bytes, "byte"), self.max);
        let detail = format!("{left} came in archives of the app {app} that could not be taken; {max} are allowed.");
        Problem::new(Code::StorageFull, detail)
            .hint("push by `devanture push` until a collection has taken them (`grace_ms_max`)")
            .limit("stored_bytes_per_app_max", max, self.bytes)
            .into()
    }

    fn is_left_over(&self, blob: &Digest) -> bool {
        self.leftovers.0.lock().get(&self.app).is_some_and(|left| left.contains_key(blob))
    }
}

impl Count for Brought {
    fn count(&mut self, blob: Digest, bytes: u64) -> Result<(), Error> {
        if self.max == 0 || self.sent.contains(&blob) || self.is_left_over(&blob) {
            return Ok(());
        }
        if self.new.insert(blob, bytes).is_none() {
            self.bytes = self.bytes.saturating_add(bytes);
        }
        if self.bytes <= self.max && self.new.len() <= FILES_MAX { Ok(()) } else { Err(self.full()) }
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        if self.new.is_empty() {
            return;
        }
        let mut leftovers = self.leftovers.0.lock();
        let left = leftovers.entry(self.app.clone()).or_default();
        left.extend(self.new.drain().take(FILES_MAX.saturating_sub(left.len())));
    }
}
