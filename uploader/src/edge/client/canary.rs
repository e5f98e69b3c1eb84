//! Requests about the canary of an environment, and changes of its visitors' version.

use devanture_config::PlaceName;
use devanture_config::api::{CanaryEnd, CanaryRequest, CanaryStatus, Step, SwitchReport, Unpinned};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use super::calls::BEGIN_TIME_MAX;
use super::{Edge, Refusal, encoded};
use crate::output::exit::Failure;

impl Edge {
    /// The canary of an environment.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn canary(&self, env: &PlaceName) -> Result<CanaryStatus, Failure> {
        self.get(&["environments", env.as_str(), "canary"], &[]).await
    }

    /// Begins a canary, or changes the share of the current one.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn set_canary(&self, env: &PlaceName, request: &CanaryRequest) -> Result<CanaryStatus, Failure> {
        self.change_canary(Method::PUT, env, encoded(request)?).await
    }

    /// Ends the canary; the live version stays.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn abort_canary(&self, env: &PlaceName, request: &CanaryEnd) -> Result<CanaryStatus, Failure> {
        self.change_canary(Method::DELETE, env, encoded(request)?).await
    }

    /// Ends all pins of visitors to earlier versions.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn unpin(&self, env: &PlaceName) -> Result<Unpinned, Failure> {
        let request = self.request(Method::DELETE, &["environments", env.as_str(), "pins"], &[]);
        self.once(request.timeout(BEGIN_TIME_MAX)).await.map_err(Refusal::into_failure)
    }

    async fn change_canary(&self, method: Method, env: &PlaceName, body: Vec<u8>) -> Result<CanaryStatus, Failure> {
        let request = self.request(method, &["environments", env.as_str(), "canary"], &[]);
        let request = request.header(CONTENT_TYPE, "application/json").timeout(BEGIN_TIME_MAX).body(body);
        // Sent once: the outcome of a lost request is unknown.
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// Makes the version of the canary live for all visitors.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn finish_canary(
        &self,
        env: &PlaceName,
        request: &CanaryEnd,
        on_step: &mut dyn FnMut(&Step),
    ) -> Result<SwitchReport, Failure> {
        self.move_live(&["environments", env.as_str(), "canary", "finish"], request, on_step).await
    }
}
