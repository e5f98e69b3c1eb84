//! Freshness of responses in a cluster.
//!
//! The field `devanture-revision` of every response holds the catalog revision of its node. A request with the field
//! waits until the node has the revision. A read first makes the node catch up with all acknowledged changes; without a
//! reachable catalog, the node answers from its last known state.

use std::time::Duration;

use devanture_config::problem::{Code, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::Body;
use super::state::Admin;
use crate::ledger::{Actor, Credential, Error};

/// Field with the catalog revision.
pub(super) const REVISION: HeaderName = HeaderName::from_static("devanture-revision");
/// Longest wait for a revision known to the caller.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest wait of a read for acknowledged changes.
const REFRESH_MAX: Duration = Duration::from_secs(1);
/// Seconds until a caller retries after a missing revision.
const RETRY_S: u64 = 1;
/// Shortest time between two refreshes caused by strangers: each refresh queries the catalog of all nodes.
const STRANGERS_PAUSE: Duration = Duration::from_millis(100);

/// Refreshes available to anyone: one at a time, with a pause, shared by all waiting callers.
#[derive(Default)]
pub(super) struct SharedRefresh(Mutex<Last>);

/// Latest refresh.
#[derive(Default)]
struct Last {
    begun: Option<Instant>,
    /// Start of the latest finished refresh.
    ended: Option<Instant>,
}

impl SharedRefresh {
    /// Returns after a refresh that began after the call; the caller's `refresh` runs if no refresh is under way.
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
    /// Returns true if other nodes change the catalog.
    pub(super) fn is_shared(&self) -> bool {
        self.publisher.is_in_cluster()
    }

    /// Waits for the revision known to the caller, and before a read for all acknowledged changes.
    ///
    /// # Errors
    /// `catalog_unavailable` if the caller's revision does not arrive.
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
            // Best effort: after the time limit, the last known state is used.
            timeout(REFRESH_MAX, catalog.refresh()).await.ok();
        }
        Ok(())
    }

    /// Refreshes the catalog, best effort, before a second look-up of an unknown credential: another node may have just
    /// created the credential.
    pub(super) async fn catch_up_for_stranger(&self) {
        let catalog = &self.publisher.ledger().catalog;
        let refresh = async {
            catalog.refresh().await.ok();
        };
        timeout(REFRESH_MAX, self.refreshes.run(refresh)).await.ok();
    }

    /// Checks a credential in a cluster against all acknowledged changes: a stalled node has not seen the revocation of
    /// a token. A read has already caught up, best effort.
    ///
    /// # Errors
    /// `bad_token`; `catalog_unavailable` for a change, if the catalog cannot be queried.
    pub(super) async fn check_in_force(&self, actor: &Actor, is_read: bool) -> Result<(), Error> {
        if !self.is_shared() || actor.credential == Credential::Local {
            return Ok(());
        }
        if !is_read {
            self.publisher.ledger().catalog.refresh().await?;
        }
        self.credentials.check(actor).await
    }

    /// Adds the node's catalog revision, unless another node has answered.
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
        // A later caller knows all changes acknowledged before its call.
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
