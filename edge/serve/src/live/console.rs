//! The console of the node: the version that the console's record names.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::{Current, CurrentSettings, LoadError, Loader};
use devanture_store::records::console::console;
use devanture_store::records::follow::Follow;
use devanture_store::records::table::FollowedBy;

/// Pause after a failed load of the console.
const AGAIN: Duration = Duration::from_secs(10);

/// The console of the node.
pub struct Console {
    loader: Loader,
    current: ArcSwapOption<Current>,
    /// True if the catalog is followed.
    is_on: AtomicBool,
    /// Held during a replacement.
    moving: Mutex<()>,
}

impl Console {
    /// An empty console, served from [`Console::follow`] on.
    #[must_use]
    pub fn new(loader: Loader) -> Self {
        Self { loader, current: ArcSwapOption::empty(), is_on: AtomicBool::new(false), moving: Mutex::default() }
    }

    /// The served version.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Current>> {
        self.current.load_full()
    }

    /// Serves the version that the catalog names, once followed.
    ///
    /// # Errors
    /// [`LoadError`]; the served version stays.
    pub async fn refresh(&self) -> Result<(), LoadError> {
        let _one = self.moving.lock().await;
        if !self.is_on.load(Ordering::Relaxed) {
            return Ok(());
        }
        let record = console(&**self.loader.catalog()).await?.map(|(_, record)| record);
        let wanted = record.and_then(|record| Some((record.version?, record.at_ms)));
        let Some((id, at_ms)) = wanted else {
            self.current.store(None);
            return Ok(());
        };
        if self.current().is_some_and(|current| current.version.id == id) {
            return Ok(());
        }
        let version = self.loader.load_console(id, at_ms).await?;
        let current = Current::new(version, at_ms, Arc::default(), CurrentSettings::default());
        self.current.store(Some(Arc::new(current)));
        Ok(())
    }

    /// Follows the catalog for as long as the edge runs.
    pub async fn follow(self: Arc<Self>) {
        let mut follow = Follow::new(&**self.loader.catalog(), FollowedBy::Console).with_pause(AGAIN);
        self.is_on.store(true, Ordering::Relaxed);
        while follow.changed().await {
            if let Err(error) = self.refresh().await {
                tracing::error!(%error, "the console could not be loaded; `devanture-edge console install` stores it again");
                // It may be whole again without a commit, as after a repair.
                follow.read_failed();
            }
        }
    }
}
