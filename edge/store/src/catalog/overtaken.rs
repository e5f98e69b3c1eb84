//! A catalog for tests, in which a change happens just before a commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::broadcast::{Receiver, Sender};

use super::{COMMIT_CHANGES_MAX, Catalog, CatalogState, Change, Commit, Committed, Error, Record, Revision};

/// A change before a commit, with the commit as its argument.
type Before = Box<dyn FnOnce(&Commit) -> BoxFuture<'static, ()> + Send>;

/// A catalog in which a change happens just before a commit.
pub struct Overtaken {
    /// The underlying catalog, without such changes.
    pub stored: Arc<dyn Catalog>,
    /// The pending changes, each before one commit.
    next: Mutex<VecDeque<(String, Before)>>,
    /// Changes of other nodes, which the next refresh brings.
    unheard: Mutex<Vec<Change>>,
    /// The channel of later watchers, if different from the real commits.
    announced: Mutex<Option<Sender<Committed>>>,
    /// Listings that are still to fail.
    failing: AtomicUsize,
}

impl Overtaken {
    /// Creates a catalog without pending changes.
    #[must_use]
    pub fn new(stored: Arc<dyn Catalog>) -> Arc<Self> {
        let (next, unheard, announced) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { stored, next, unheard, announced, failing: AtomicUsize::new(0) })
    }

    /// Runs `before` just before the next commit that changes a record with the key prefix `prefix`; a further call
    /// applies to the commit after that.
    pub fn before(&self, prefix: &str, before: impl FnOnce(&Commit) -> BoxFuture<'static, ()> + Send + 'static) {
        self.next.lock().push_back((prefix.to_owned(), Box::new(before)));
    }

    /// Makes these changes just before that commit.
    ///
    /// # Panics
    /// Panics at that commit if the changes cannot be made.
    pub fn before_commit_of(&self, prefix: &str, changes: Vec<Change>) {
        let stored = Arc::clone(&self.stored);
        self.before(prefix, move |_commit| {
            Box::pin(async move {
                let done = stored.commit(Commit { checks: Vec::new(), changes }).await;
                assert!(done.is_ok(), "{done:?}");
            })
        });
    }

    /// Hides these changes of a different node until a refresh.
    pub fn before_refresh(&self, changes: Vec<Change>) {
        self.unheard.lock().extend(changes);
    }

    /// Sends later watchers only the commits of `sender`, like watchers that miss commits.
    pub fn announce_by(&self, sender: &Sender<Committed>) {
        *self.announced.lock() = Some(sender.clone());
    }

    /// Has the next so many listings fail.
    pub fn fail_listings(&self, count: usize) {
        self.failing.store(count, Ordering::Relaxed);
    }

    /// Checks that what was waited for has happened.
    ///
    /// # Panics
    /// Panics if a change is still pending.
    pub fn assert_overtaken(&self) {
        assert!(self.next.lock().is_empty(), "nothing was committed that was waited for");
    }

    async fn overtake(&self, commit: &Commit) {
        let is_it = |prefix: &str| commit.changes.iter().any(|change| key_of(change).starts_with(prefix));
        let before = {
            let mut next = self.next.lock();
            let is_next = next.front().is_some_and(|(prefix, _)| is_it(prefix));
            if is_next { next.pop_front() } else { None }
        };
        if let Some((_, before)) = before {
            before(commit).await;
        }
    }
}

/// Returns the key of a change.
#[must_use]
pub fn key_of(change: &Change) -> &str {
    let (Change::Put(key, _) | Change::Delete(key)) = change;
    key
}

#[async_trait]
impl Catalog for Overtaken {
    async fn get(&self, key: &str) -> Result<Option<Record>, Error> {
        self.stored.get(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, Error> {
        let less_one = |left: usize| left.checked_sub(1);
        if self.failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less_one).is_ok() {
            return Err(Error::Unavailable { reason: "a test has it fail".to_owned() });
        }
        self.stored.list(prefix, after, newest_first, limit).await
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, Error> {
        if commit.changes.len() > COMMIT_CHANGES_MAX {
            return Err(Error::TooLarge { reason: format!("it has {} changes", commit.changes.len()) });
        }
        self.overtake(&commit).await;
        self.stored.commit(commit).await
    }

    fn watch(&self) -> Receiver<Committed> {
        self.announced.lock().as_ref().map_or_else(|| self.stored.watch(), Sender::subscribe)
    }

    fn state(&self) -> CatalogState {
        self.stored.state()
    }

    async fn refresh(&self) -> Result<Revision, Error> {
        let changes = std::mem::take(&mut *self.unheard.lock());
        if !changes.is_empty() {
            self.stored.commit(Commit { checks: Vec::new(), changes }).await?;
        }
        self.stored.refresh().await
    }
}
