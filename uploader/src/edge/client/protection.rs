//! Requests about the visitors of previews and environments, and about share links.

use devanture_config::PlaceName;
use devanture_config::api::{
    ProtectionList, ProtectionRequest, ProtectionSet, ShareList, ShareMade, ShareRequest, ShareRevoked,
};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use super::{ANSWER_TIME_MAX, DRY_RUN, Edge, Refusal, encoded};
use crate::output::exit::Failure;

impl Edge {
    /// Returns the protection of the previews and environments of the app.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn protections(&self) -> Result<ProtectionList, Failure> {
        self.get(&["protection"], &[]).await
    }

    /// Sets the allowed visitors of an environment, or of the previews.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn protect(
        &self,
        place: &PlaceName,
        wanted: &ProtectionRequest,
        dry_run: bool,
    ) -> Result<ProtectionSet, Failure> {
        let query: &[_] = if dry_run { &DRY_RUN } else { &[] };
        let request = self.request(Method::PUT, &["environments", place.as_str(), "protection"], query);
        let request = request.header(CONTENT_TYPE, "application/json").timeout(ANSWER_TIME_MAX);
        self.once(request.body(encoded(wanted)?)).await.map_err(Refusal::into_failure)
    }

    /// The share links of the app.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn shares(&self) -> Result<ShareList, Failure> {
        self.get(&["shares"], &[]).await
    }

    /// Makes a share link. Sent once: a second request would make a further link.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn share(&self, wanted: &ShareRequest) -> Result<ShareMade, Failure> {
        let request = self.request(Method::POST, &["shares"], &[]);
        let request = request.header(CONTENT_TYPE, "application/json").timeout(ANSWER_TIME_MAX);
        self.once(request.body(encoded(wanted)?)).await.map_err(Refusal::into_failure)
    }

    /// Revokes a share link.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn revoke_share(&self, id: &str, dry_run: bool) -> Result<ShareRevoked, Failure> {
        let query: &[_] = if dry_run { &DRY_RUN } else { &[] };
        let request = self.request(Method::DELETE, &["shares", id], query).timeout(ANSWER_TIME_MAX);
        self.once(request).await.map_err(Refusal::into_failure)
    }
}
