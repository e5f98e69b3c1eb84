//! Pushes under way: what was begun and is not finished, in memory alone.
//!
//! A push that is forgotten, by time or by the end of the process, loses nothing: its blobs are stored under their
//! hashes, and the next push finds them there when it sends them again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use devanture_config::api::{DeployOptions, Source};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};

use super::{Actor, Error};

/// One push.
pub(crate) struct Push {
    pub(crate) id: String,
    pub(crate) app: AppName,
    pub(crate) environment: PlaceName,
    pub(crate) version: VersionId,
    pub(crate) manifest: Manifest,
    pub(crate) source: Source,
    pub(crate) options: DeployOptions,
    pub(crate) actor: Actor,
    /// Orders pushes: a smaller number began earlier.
    pub(crate) begun: u64,
    /// What the app had not sent before.
    pub(crate) missing: HashSet<Digest>,
    pub(crate) received: Mutex<Received>,
}

/// What came in for a push.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) blobs: HashSet<Digest>,
    pub(crate) bytes: u64,
}

struct Entry {
    push: Arc<Push>,
    touched: Instant,
}

/// All pushes under way.
pub(crate) struct Pushes {
    entries: Mutex<HashMap<String, Entry>>,
    count_max: usize,
    idle_max: Duration,
}

impl Pushes {
    pub(crate) fn new(count_max: u64, idle_ms_max: u64) -> Self {
        Self {
            entries: Mutex::default(),
            count_max: usize::try_from(count_max).unwrap_or(usize::MAX),
            idle_max: Duration::from_millis(idle_ms_max),
        }
    }

    pub(crate) fn add(&self, push: Push) -> Result<Arc<Push>, Error> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.touched.elapsed() < self.idle_max);
        if entries.len() >= self.count_max {
            return Err(Problem::new(Code::Busy, format!("The edge is taking {} pushes already.", entries.len()))
                .hint("try again in a moment; `pushes_max` in edge.toml is the limit")
                .into());
        }
        let push = Arc::new(push);
        entries.insert(push.id.clone(), Entry { push: Arc::clone(&push), touched: Instant::now() });
        Ok(push)
    }

    /// The push `id` of `app`; another app's is as unknown as one that never was.
    pub(crate) fn find(&self, app: &AppName, id: &str) -> Result<Arc<Push>, Error> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get_mut(id).filter(|entry| entry.push.app == *app);
        let Some(entry) = entry else {
            return Err(Problem::new(Code::NotFound, "There is no such push under way.")
                .hint("begin it again: what was sent already is not sent twice")
                .into());
        };
        entry.touched = Instant::now();
        Ok(Arc::clone(&entry.push))
    }

    /// Takes a push out; only one caller gets it.
    pub(crate) fn take(&self, app: &AppName, id: &str) -> Result<Arc<Push>, Error> {
        let push = self.find(app, id)?;
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(push)
    }

    /// Puts a push back that could not be finished for want of a blob.
    pub(crate) fn put_back(&self, push: Arc<Push>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(push.id.clone(), Entry { push, touched: Instant::now() });
    }
}
