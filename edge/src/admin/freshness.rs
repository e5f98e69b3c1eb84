//! How current an answer is, where other nodes change the catalog, too.
//!
//! Every answer has the revision of the catalog that its node has in the field `devanture-revision`. A request that
//! sends one waits until its node has it. A request that only reads first has its node catch up with what was
//! acknowledged anywhere; while the catalog is away, it is answered by what the node knew last.

use std::time::Duration;

use devanture_config::problem::{Code, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use tokio::time::timeout;

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
