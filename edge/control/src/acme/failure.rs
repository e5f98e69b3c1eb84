//! Failures of orders, and their effects on later orders.

use instant_acme::Error as AcmeError;

use super::client::RetryLater;
use super::schedule::{Ended, LIMITED_WAIT_MS};
use devanture_serve::tls::Error;

/// Error type of rate limits (RFC 8555 §6.7).
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";

/// Stored characters of a reason.
const REASON_CHARACTERS_MAX: usize = 1_000;

/// Metrics label of failures due to overload or rate limits of the authority.
const LIMITED: &str = "rate_limited";

/// Reason for a missing certificate.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) ended: Ended,
    /// Metrics label.
    pub(crate) outcome: &'static str,
    /// Error of the library, if any.
    pub(crate) source: Option<Box<AcmeError>>,
}

impl Failure {
    /// Converts a failure before any order.
    pub(crate) fn of_authority(error: AcmeError) -> Self {
        let failure = Self::from(error);
        let retry_after_ms = match failure.ended {
            Ended::Failed { retry_after_ms, .. }
            | Ended::Limited { retry_after_ms }
            | Ended::Unanswered { retry_after_ms } => retry_after_ms,
            Ended::Issued { .. } | Ended::Dropped => 0,
        };
        let outcome = if retry_after_ms > 0 { failure.outcome } else { "unanswered" };
        Self { ended: Ended::Unanswered { retry_after_ms }, outcome, ..failure }
    }

    /// Extends a rate limit not specific to `name` to all orders, of the account or of everyone: both have the same
    /// problem type (RFC 8555 §6.6).
    pub(crate) fn about(self, name: &str) -> Self {
        match self.ended {
            Ended::Failed { retry_after_ms, .. } if self.outcome == LIMITED && !is_about(&self.reason, name) => {
                Self { ended: Ended::Limited { retry_after_ms }, ..self }
            }
            _ => self,
        }
    }

    /// Refusal by the authority.
    pub(crate) const fn refused(reason: String) -> Self {
        Self { reason, ended: Ended::Failed { retry_after_ms: 0, unproven: false }, outcome: "failed", source: None }
    }

    /// Rejection of the proof by the authority.
    pub(crate) const fn unproven(reason: String) -> Self {
        Self { reason, ended: Ended::Failed { retry_after_ms: 0, unproven: true }, outcome: "failed", source: None }
    }

    /// The name is no longer served.
    pub(crate) fn dropped() -> Self {
        let reason = "nobody serves the name any more".to_owned();
        Self { reason, ended: Ended::Dropped, outcome: "dropped", source: None }
    }
}

impl From<AcmeError> for Failure {
    fn from(error: AcmeError) -> Self {
        let retry_after_ms = match &error {
            AcmeError::Other(other) => other.downcast_ref::<RetryLater>().map(|later| later.wait_ms),
            AcmeError::Api(problem) if problem.r#type.as_deref() == Some(RATE_LIMITED) => Some(LIMITED_WAIT_MS),
            _ => None,
        };
        let outcome = if retry_after_ms.is_some() { LIMITED } else { "failed" };
        let ended = Ended::Failed { retry_after_ms: retry_after_ms.unwrap_or_default(), unproven: false };
        Self { reason: chain(&error), ended, outcome, source: Some(Box::new(error)) }
    }
}

/// Errors of the disk or of a certificate, which no immediate retry would fix.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::refused(error.to_string())
    }
}

/// Returns true if the authority's text concerns a name, a parent domain, or the set of names of an order.
fn is_about(text: &str, name: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let mut domains = std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, above)| above));
    text.contains("identifiers") || domains.any(|domain| domain.contains('.') && text.contains(domain))
}

/// Formats an error with its causes, truncated for the log: an authority's text may be a megabyte.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        // Some errors repeat the text of their cause.
        if !text.ends_with(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        cause = error.source();
    }
    if let Some((end, _)) = text.char_indices().nth(REASON_CHARACTERS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_account_is_distinguished_from_one_of_a_name() {
        // In the words of Let's Encrypt (docs, "Rate limits").
        for (text, expected) in [
            ("too many new orders (300) from this account in the last 3h0m0s, retry after 2026-01-01", false),
            ("Rate limit for '/acme/new-order' reached", false),
            ("Service busy; retry later.", false),
            ("", false),
            ("too many certificates (50) already issued for \"example.org\" in the last 168h0m0s", true),
            ("too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s", true),
            ("too many failed authorizations (5) for \"WWW.example.org\" in the last 1h0m0s", true),
        ] {
            let failed = Ended::Failed { retry_after_ms: 9, unproven: false };
            let failure = Failure { reason: text.to_owned(), ended: failed, outcome: LIMITED, source: None };
            let ended = if expected { failed } else { Ended::Limited { retry_after_ms: 9 } };
            assert_eq!(failure.about("www.example.org").ended, ended, "{text}");
        }
        let refused = Failure::refused("too many".to_owned()).about("www.example.org");
        assert_eq!(refused.ended, Ended::Failed { retry_after_ms: 0, unproven: false });
    }
}
