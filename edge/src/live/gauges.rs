//! The memory of apps as metrics, set whenever they are rendered, so that apps without loaded versions have none.

use metrics::gauge;

use super::Loader;
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
