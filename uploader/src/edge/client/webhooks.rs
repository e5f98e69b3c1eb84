//! Requests about webhooks, and changes of them.

use devanture_config::api::{
    WebhookDelivery, WebhookDetails, WebhookList, WebhookName, WebhookRemoved, WebhookRequest, WebhookRotated,
    WebhookSet,
};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use super::{ANSWER_TIME_MAX, DRY_RUN, Edge, Refusal, encoded};
use crate::output::exit::Failure;

impl Edge {
    /// The webhooks of the app.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn webhooks(&self) -> Result<WebhookList, Failure> {
        self.get(&["webhooks"], &[]).await
    }

    /// Returns a webhook with its last messages, `limit` at most.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn webhook(&self, name: &WebhookName, limit: usize) -> Result<WebhookDetails, Failure> {
        self.get(&["webhooks", name.as_str()], &[("limit", &limit.to_string())]).await
    }

    /// Adds or sets a webhook. Sent once: the answer to a repetition would lack the secret.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn set_webhook(
        &self,
        name: &WebhookName,
        wanted: &WebhookRequest,
        dry_run: bool,
    ) -> Result<WebhookSet, Failure> {
        let query: &[_] = if dry_run { &DRY_RUN } else { &[] };
        let request = self.request(Method::PUT, &["webhooks", name.as_str()], query);
        let request = request.header(CONTENT_TYPE, "application/json").timeout(ANSWER_TIME_MAX);
        self.once(request.body(encoded(wanted)?)).await.map_err(Refusal::into_failure)
    }

    /// Removes a webhook; with `dry_run` the edge only reports the effect.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn remove_webhook(&self, name: &WebhookName, dry_run: bool) -> Result<WebhookRemoved, Failure> {
        let query: &[_] = if dry_run { &DRY_RUN } else { &[] };
        let request = self.request(Method::DELETE, &["webhooks", name.as_str()], query).timeout(ANSWER_TIME_MAX);
        self.once(request).await.map_err(Refusal::into_failure)
    }

    /// Sends a message to a webhook now.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn test_webhook(&self, name: &WebhookName) -> Result<WebhookDelivery, Failure> {
        self.post_once(&["webhooks", name.as_str(), "test"]).await
    }

    /// Replaces the secret of a webhook.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn rotate_webhook(&self, name: &WebhookName, now: bool) -> Result<WebhookRotated, Failure> {
        let query: &[(&str, &str)] = if now { &[("now", "true")] } else { &[] };
        let request = self.request(Method::POST, &["webhooks", name.as_str(), "rotate"], query);
        self.once(request.timeout(ANSWER_TIME_MAX)).await.map_err(Refusal::into_failure)
    }

    /// Requests the repetition of a message.
    ///
    /// # Errors
    /// The error of the edge, or `unreachable`.
    pub(crate) async fn redeliver(&self, name: &WebhookName, id: &str) -> Result<WebhookDelivery, Failure> {
        self.post_once(&["webhooks", name.as_str(), "deliveries", id, "redeliver"]).await
    }

    /// Sends a request once, as the outcome of a lost request is unknown.
    async fn post_once<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, Failure> {
        let request = self.request(Method::POST, segments, &[]).timeout(ANSWER_TIME_MAX);
        self.once(request).await.map_err(Refusal::into_failure)
    }
}
