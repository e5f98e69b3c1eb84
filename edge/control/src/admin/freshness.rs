//! How current an answer is, where other nodes change the catalog, too.
//!
//! Every answer has the revision of the catalog that its node has in the field `devanture-revision`. A request that
//! sends one waits until its node has it. A request that only reads first has its node catch up with what was
//! acknowledged anywhere; while the catalog is away, it is answered by what the node knew last.

use std::time::Duration;

use devanture_config::problem::{Code, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::Body;
use super::state::Admin;
use crate::ledger::{Actor, Credential, Error};

/// The field of the catalog's revision.
pub(super) const REVISION: HeaderName = HeaderName::from_static("devanture-revision");
/// Longest wait for a revision that the caller knows.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest wait of a read for what was acknowledged elsewhere.
const REFRESH_MAX: Duration = Duration::from_secs(1);
/// Seconds until a caller tries again whose revision did not come.
const RETRY_S: u64 = 1;
/// Least time between the beginnings of two refreshes that strangers cause: each is a request to the catalog of all
/// nodes.
const STRANGERS_PAUSE: Duration = Duration::from_millis(100);

/// Refreshes of the catalog that anyone may cause: one at a time, with a pause, and each for all who wait.
#[derive(Default)]
pub(super) struct SharedRefresh(Mutex<Last>);

/// The last of these refreshes.
#[derive(Default)]
struct Last {
    begun: Option<Instant>,
    /// When the last one began that has ended.
    ended: Option<Instant>,
}

impl SharedRefresh {
    /// Returns once a refresh has ended that began after the call; `refresh` is that of this caller, if none is.
    async fn run(&self, refresh: impl Future<Output = ()>) {
        let came = Instant::now();
        let mut last = self.0.lock().await;
        if last.ended.is_some_and(|began| began > came) {
            return;
        }
        if let Some(begun) = last.begun {
            sleep_until(begun + STRANGERS_PAUSE).await;
        }
        let now = Instant::now();
        last.begun = Some(now);
        refresh.await;
        last.ended = Some(now);
    }
}

impl Admin {
    /// Whether other nodes change the catalog.
    pub(super) fn is_shared(&self) -> bool {
        self.publisher.is_in_cluster()
    }

    /// Waits until this node has what the caller knows, and before a read what was acknowledged anywhere.
    ///
    /// # Errors
    /// `catalog_unavailable` where the caller's revision does not come.
    pub(super) async fn catch_up(&self, method: &Method, fields: &HeaderMap) -> Result<(), Error> {
        if !self.is_shared() {
            return Ok(());
        }
        let catalog = &self.publisher.ledger().catalog;
        let known = fields.get(REVISION).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let Some(known) = known
            && !catalog.wait_for(known, WAIT_MAX).await
        {
            let detail = format!("This node does not have the revision {known} of the catalog yet.");
            let problem = Problem::new(Code::CatalogUnavailable, detail).hint("try again, or at another node");
            return Err(problem.retry_after(RETRY_S).into());
        }
        if method.is_safe() {
            // What it does not hear of in time, it does not know.
            timeout(REFRESH_MAX, catalog.refresh()).await.ok();
        }
        Ok(())
    }

    /// Has this node catch up with what was acknowledged anywhere, as far as it can, before a credential is looked for
    /// again that it does not know: it may have been made on another node a moment ago.
    pub(super) async fn catch_up_for_stranger(&self) {
        let catalog = &self.publisher.ledger().catalog;
        let refresh = async {
            catalog.refresh().await.ok();
        };
        timeout(REFRESH_MAX, self.refreshes.run(refresh)).await.ok();
    }

    /// Checks in a cluster that a credential is good also by what was acknowledged anywhere: a node that stood still
    /// knows nothing yet of a token that was revoked meanwhile. A read has caught up as far as it can.
    ///
    /// # Errors
    /// `bad_token`; `catalog_unavailable` for a change, where this node cannot find out.
    pub(super) async fn check_in_force(&self, actor: &Actor, is_read: bool) -> Result<(), Error> {
        if !self.is_shared() || actor.credential == Credential::Local {
            return Ok(());
        }
        if !is_read {
            self.publisher.ledger().catalog.refresh().await?;
        }
        self.credentials.check(actor).await
    }

    /// Adds the revision that this node has, unless another one has answered.
    pub(super) fn with_revision(&self, mut response: Response<Body>) -> Response<Body> {
        if self.is_shared() {
            let revision = self.publisher.ledger().catalog.state().revision;
            response.headers_mut().entry(REVISION).or_insert(HeaderValue::from(revision));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_strangers_at_once_share_a_few_refreshes() {
        let (refreshes, count) = (SharedRefresh::default(), AtomicUsize::new(0));
        let refresh = || async {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        };
        join_all((0..10_000).map(|_| refreshes.run(refresh()))).await;
        let few = count.load(Ordering::Relaxed);
        assert!((1..=3).contains(&few), "{few}");
        // What was acknowledged before a later one comes is known to it.
        refreshes.run(refresh()).await;
        assert_eq!(count.load(Ordering::Relaxed), few + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_that_takes_too_long_holds_nobody_up() {
        let refreshes = SharedRefresh::default();
        assert!(timeout(REFRESH_MAX, refreshes.run(std::future::pending())).await.is_err());
        refreshes.run(std::future::ready(())).await;
    }
}
