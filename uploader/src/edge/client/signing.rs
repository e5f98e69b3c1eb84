//! Signatures of versions, signers of environments, and the log of live versions.

use devanture_config::api::{LiveLog, SignRequest, Signers, SignersReport, SignersRequest, VersionSignatures};
use devanture_config::signing::SignatureText;
use devanture_config::{PlaceName, VersionId};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use super::{ANSWER_TIME_MAX, DRY_RUN, Edge, Refusal, encoded};
use crate::output::exit::Failure;

/// Entries of a live log in one answer.
const ENTRIES: &str = "1000";

impl Edge {
    /// Returns the required signers of an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn signers(&self, environment: &PlaceName) -> Result<Signers, Failure> {
        self.get(&["environments", environment.as_str(), "signers"], &[]).await
    }

    /// Sets the required signers of an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn set_signers(
        &self,
        environment: &PlaceName,
        wanted: &SignersRequest,
        dry_run: bool,
    ) -> Result<SignersReport, Failure> {
        let body = bytes::Bytes::from(encoded(wanted)?);
        let query: &[_] = if dry_run { &DRY_RUN } else { &[] };
        self.repeated(|| {
            self.request(Method::PUT, &["environments", environment.as_str(), "signers"], query)
                .header(CONTENT_TYPE, "application/json")
                .timeout(ANSWER_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// Returns the signatures of a version, which may be given by a shortened id; the answer has the whole id.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn signatures(&self, version: &str) -> Result<VersionSignatures, Failure> {
        self.get(&["versions", version, "signatures"], &[]).await
    }

    /// Adds a signature to a version. Repeated without an answer: a repetition has no further effect.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn add_signature(
        &self,
        version: &VersionId,
        signature: SignatureText,
    ) -> Result<VersionSignatures, Failure> {
        let body = bytes::Bytes::from(encoded(&SignRequest { signature })?);
        self.repeated(|| {
            self.request(Method::POST, &["versions", &version.to_string(), "signatures"], &[])
                .header(CONTENT_TYPE, "application/json")
                .timeout(ANSWER_TIME_MAX)
                .body(body.clone())
        })
        .await
    }

    /// The manifest of a version, byte for byte.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn manifest(&self, version: &VersionId) -> Result<Vec<u8>, Failure> {
        let request = self.request(Method::GET, &["versions", &version.to_string(), "manifest"], &[]);
        let response = self.send(request.timeout(ANSWER_TIME_MAX)).await.map_err(Refusal::into_failure)?;
        self.body(response).await.map_err(Refusal::into_failure)
    }

    /// Returns a page of the log of live versions, after the entry with the given number.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn live_log(&self, environment: &PlaceName, after: Option<&str>) -> Result<LiveLog, Failure> {
        let mut query = vec![("limit", ENTRIES)];
        query.extend(after.map(|after| ("after", after)));
        self.get(&["environments", environment.as_str(), "live-log"], &query).await
    }
}
