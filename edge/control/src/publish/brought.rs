//! Files of incoming and failed archives. Files are stored before the archive is accepted; files of a refused archive
//! stay until a collection. Their bytes are bounded per app by the app's storage limit, over all its archives.

use std::collections::HashMap;
use std::sync::Arc;

use devanture_config::problem::{Code, Problem};
use devanture_config::text::counted;
use devanture_config::{AppName, Digest};
use parking_lot::Mutex;

use super::owned::{Owned, SentBlobs};
use crate::archive::Count;
use crate::ledger::Error;

/// Most recorded files of an app, since each costs memory, however short.
const FILES_MAX: usize = 1_000_000;

/// Files of failed and incoming archives, by app.
#[derive(Default)]
pub(super) struct Leftovers(Mutex<HashMap<AppName, Files>>);

/// Files of an app.
#[derive(Default)]
struct Files {
    sizes: HashMap<Digest, u64>,
    /// Total size.
    bytes: u64,
}

impl Files {
    fn remove(&mut self, blob: &Digest) {
        let bytes = self.sizes.remove(blob).unwrap_or(0);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Removes files sent by the app meanwhile.
    fn remove_sent(&mut self, sent: &SentBlobs) {
        self.sizes.retain(|blob, _| !sent.contains(blob));
        self.bytes = self.sizes.values().copied().fold(0, u64::saturating_add);
    }
}

impl Leftovers {
    /// Removes blobs no longer stored.
    pub(super) fn forget(&self, gone: &[Digest]) {
        self.0.lock().retain(|_, files| {
            gone.iter().for_each(|blob| files.remove(blob));
            !files.sizes.is_empty()
        });
    }

    /// Removes all files of an app.
    pub(super) fn forget_app(&self, app: &AppName) {
        self.0.lock().remove(app);
    }
}

/// Files of an incoming archive, left over if dropped before [`Brought::taken`].
pub(super) struct Brought {
    app: AppName,
    /// Storage limit of the app in bytes; 0 is no limit and disables counting.
    max: u64,
    sent: SentBlobs,
    leftovers: Arc<Leftovers>,
    /// Received files not sent by the app before.
    blobs: Vec<Digest>,
}

impl Brought {
    /// Starts to count files for an app with a storage limit of `max` bytes.
    ///
    /// # Errors
    /// `storage_full` if failed and incoming archives already reach the limit; errors of reading the app's sent blobs.
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

    /// Accepts the archive as a push; the app owns its files from now on.
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
