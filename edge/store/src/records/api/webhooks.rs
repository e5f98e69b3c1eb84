//! Messages to webhooks: the events, and the results of the last attempts.

use devanture_config::api::{DeployKind, DeployProblem, WebhookAttempt, WebhookData, WebhookEnd};

use crate::records::webhooks::{StoredAttempt, StoredData, StoredEnd};
use crate::records::{StoredKind, StoredProblem};

impl From<WebhookEnd> for StoredEnd {
    fn from(end: WebhookEnd) -> Self {
        let WebhookEnd { at_ms, reason } = end;
        Self { at_ms, reason }
    }
}

impl From<StoredEnd> for WebhookEnd {
    fn from(end: StoredEnd) -> Self {
        let StoredEnd { at_ms, reason } = end;
        Self { at_ms, reason }
    }
}

impl From<WebhookAttempt> for StoredAttempt {
    fn from(attempt: WebhookAttempt) -> Self {
        let WebhookAttempt { at_ms, ms, status, error, answer } = attempt;
        Self { at_ms, ms, status, error, answer }
    }
}

impl From<StoredAttempt> for WebhookAttempt {
    fn from(attempt: StoredAttempt) -> Self {
        let StoredAttempt { at_ms, ms, status, error, answer } = attempt;
        Self { at_ms, ms, status, error, answer }
    }
}

impl From<WebhookData> for StoredData {
    fn from(data: WebhookData) -> Self {
        let WebhookData {
            app,
            environment,
            actor,
            kind,
            deploy,
            version,
            previous,
            url,
            preview,
            commit,
            branch,
            message,
            reason,
            problem,
            hostname,
            expires,
            webhook,
        } = data;
        Self {
            app,
            environment,
            actor,
            kind: kind.map(StoredKind::from),
            deploy,
            version,
            previous,
            url,
            preview,
            commit,
            branch,
            message,
            reason,
            problem: problem.map(StoredProblem::from),
            hostname,
            expires,
            webhook,
        }
    }
}

impl From<StoredData> for WebhookData {
    fn from(data: StoredData) -> Self {
        let StoredData {
            app,
            environment,
            actor,
            kind,
            deploy,
            version,
            previous,
            url,
            preview,
            commit,
            branch,
            message,
            reason,
            problem,
            hostname,
            expires,
            webhook,
        } = data;
        Self {
            app,
            environment,
            actor,
            kind: kind.map(DeployKind::from),
            deploy,
            version,
            previous,
            url,
            preview,
            commit,
            branch,
            message,
            reason,
            problem: problem.map(DeployProblem::from),
            hostname,
            expires,
            webhook,
        }
    }
}
