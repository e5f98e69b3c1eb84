//! The memory of apps and the damage of live versions as metrics, set whenever they are rendered: what is gone has
//! none.

use metrics::gauge;

use super::{Live, Loader};
use crate::telemetry::Exposition;

impl Loader {
    /// The memory of the loaded versions of each app, as metrics.
    #[must_use]
    pub fn metrics(&self) -> String {
        Exposition::of_now(|| {
            for (app, usage) in self.memory_usage() {
                for (kind, bytes) in [("files", usage.files), ("versions", usage.bytes.saturating_sub(usage.files))] {
                    #[expect(clippy::cast_precision_loss, reason = "no memory has as many bytes")]
                    gauge!("devanture_app_memory_bytes", "app" => app.to_string(), "kind" => kind).set(bytes as f64);
                }
            }
        })
    }
}

impl Live {
    /// The damage of live versions, as metrics.
    #[must_use]
    pub fn metrics(&self) -> String {
        Exposition::of_now(|| {
            for damaged in self.damaged() {
                let labels = [("app", damaged.app.to_string()), ("environment", damaged.environment.to_string())];
                if damaged.error.is_some() {
                    gauge!("devanture_unloaded_versions", &labels).set(1.0);
                }
                if !damaged.files.is_empty() {
                    #[expect(clippy::cast_precision_loss, reason = "no version has as many files")]
                    gauge!("devanture_damaged_files", &labels).set(damaged.files.len() as f64);
                }
            }
        })
    }
}
