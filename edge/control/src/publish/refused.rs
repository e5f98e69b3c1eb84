//! Pushes that the edge's own storage refuses before their last step: they count as failed, as those do that reach it.

use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName};

use super::publisher::Publisher;
use crate::ledger::Error;
use devanture_base::telemetry;

/// Whether the edge's own storage is why, and nothing that a client could do better.
fn is_of_storage(error: &Error) -> bool {
    matches!(
        error.0.code,
        Code::CatalogUnavailable | Code::DiskFull | Code::DiskUnwritable | Code::Internal | Code::StoreUnavailable
    )
}

fn count(app: &AppName, environment: &PlaceName) {
    let place = (app.as_str(), environment.as_str());
    telemetry::count_in_place("devanture_pushes_total", place, &[("outcome", "failed")], 1);
}

impl Publisher {
    /// Counts a push that does not begin, or whose archive is not taken, if storage is why.
    ///
    /// # Errors
    /// That of `result`.
    pub fn count_refused<T>(
        &self,
        (app, environment): (&AppName, &PlaceName),
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        result.inspect_err(|error| {
            if is_of_storage(error) {
                count(app, environment);
            }
        })
    }

    /// Counts the push `deploy` one of whose blobs is not taken, if storage is why; once, whatever else of it is sent.
    ///
    /// # Errors
    /// That of `result`.
    pub fn count_refused_blobs<T>(&self, app: &AppName, deploy: &str, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| {
            if is_of_storage(error)
                && let Ok(push) = self.uploads.pushes.find(app, deploy)
                && !std::mem::replace(&mut push.received.lock().is_refused, true)
            {
                count(app, &push.environment);
            }
        })
    }
}
