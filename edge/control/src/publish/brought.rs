//! What archives bring that come in or have failed: the files of each are stored before it is known whether it can be
//! taken, and where it cannot, they lie there until a collection takes them. Of one app they are at most as many bytes
//! as it may store, however many archives come in at once.

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

/// Files of archives that failed or still come in, by app.
#[derive(Default)]
pub(super) struct Leftovers(Mutex<HashMap<AppName, Files>>);

/// Files of one app.
#[derive(Default)]
struct Files {
    sizes: HashMap<Digest, u64>,
    /// The sum of their sizes.
    bytes: u64,
}

impl Files {
    fn remove(&mut self, blob: &Digest) {
        let bytes = self.sizes.remove(blob).unwrap_or(0);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Removes the files that are the app's own by now.
    fn remove_sent(&mut self, sent: &SentBlobs) {
        self.sizes.retain(|blob, _| !sent.contains(blob));
        self.bytes = self.sizes.values().copied().fold(0, u64::saturating_add);
    }
}

impl Leftovers {
    /// Forgets blobs that are no longer stored.
    pub(super) fn forget(&self, gone: &[Digest]) {
        self.0.lock().retain(|_, files| {
            gone.iter().for_each(|blob| files.remove(blob));
            !files.sizes.is_empty()
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
    /// What came that the app had not sent.
    blobs: Vec<Digest>,
}

impl Brought {
    /// Begins to count what comes for an app that may store `max` bytes.
    ///
    /// # Errors
    /// `storage_full` where archives that failed or still come in have brought so much already; where it cannot be read
    /// what the app has sent.
    pub(super) async fn begin(
        (owned, leftovers): (&Owned, &Arc<Leftovers>),
        app: &AppName,
        max: u64,
    ) -> Result<Self, Error> {
        let sent = owned.sent_by(app).await?;
        let (bytes, count) = leftovers.0.lock().get_mut(app).map_or((0, 0), |files| {
            files.remove_sent(&sent);
            (files.bytes, files.sizes.len())
        });
        let leftovers = Arc::clone(leftovers);
        let brought = Self { app: app.clone(), max, sent, leftovers, blobs: Vec::new() };
        if max > 0 && (bytes >= max || count >= FILES_MAX) { Err(brought.full(bytes)) } else { Ok(brought) }
    }

    /// The archive is a push, by which its files are the app's.
    pub(super) fn taken(self) {
        let mut leftovers = self.leftovers.0.lock();
        if let Some(files) = leftovers.get_mut(&self.app) {
            self.blobs.iter().for_each(|blob| files.remove(blob));
        }
    }

    fn full(&self, bytes: u64) -> Error {
        let (app, came, max) = (&self.app, counted(bytes, "byte"), self.max);
        let detail =
            format!("{came} came in archives of the app {app} that failed or still come in; {max} are allowed.");
        Problem::new(Code::StorageFull, detail)
            .hint("push by `devanture push` until a collection has taken them (`grace_ms_max`)")
            .limit("stored_bytes_per_app_max", max, bytes)
            .into()
    }
}

impl Count for Brought {
    fn count(&mut self, blob: Digest, bytes: u64) -> Result<(), Error> {
        if self.max == 0 || self.sent.contains(&blob) {
            return Ok(());
        }
        self.blobs.push(blob);
        let (bytes, count) = {
            let mut leftovers = self.leftovers.0.lock();
            let files = leftovers.entry(self.app.clone()).or_default();
            if files.sizes.insert(blob, bytes).is_some() {
                return Ok(());
            }
            files.bytes = files.bytes.saturating_add(bytes);
            (files.bytes, files.sizes.len())
        };
        if bytes <= self.max && count <= FILES_MAX { Ok(()) } else { Err(self.full(bytes)) }
    }
}
