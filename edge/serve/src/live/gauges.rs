//! Metrics of live versions, collected for each scrape: removed items have no series.

use super::{AppsWanted, Live, Loader};
use devanture_base::telemetry::{Gauges, gauge_value};

impl Loader {
    /// Adds the memory of the loaded versions, by app and in total.
    pub fn add_metrics(&self, gauges: &mut Gauges) {
        for (part, (bytes, bytes_max)) in self.memory_parts() {
            gauges.add("devanture_memory_bytes", &[("part", part)], gauge_value(bytes));
            gauges.add("devanture_memory_bytes_max", &[("part", part)], gauge_value(bytes_max));
        }
        for (app, usage) in self.memory_usage() {
            for (kind, bytes) in [("files", usage.files), ("versions", usage.bytes.saturating_sub(usage.files))] {
                gauges.add_in_app("devanture_app_memory_bytes", app.as_str(), &[("kind", kind)], gauge_value(bytes));
            }
        }
    }
}

impl Live {
    /// Adds the number of apps and environments, the damage of live versions, and the number not loaded.
    pub fn add_metrics(&self, gauges: &mut Gauges) {
        let all = self.apps(&AppsWanted { app: None, environment: None, part: "", after: None, limit: 0 });
        gauges.add("devanture_apps", &[], gauge_value(all.totals.apps));
        gauges.add("devanture_environments", &[], gauge_value(all.totals.environments));
        let progress = self.progress();
        for (name, count) in
            [("devanture_loading_versions", progress.waiting), ("devanture_idle_versions", progress.unloaded)]
        {
            gauges.add(name, &[], gauge_value(u64::try_from(count).unwrap_or(u64::MAX)));
        }
        for damaged in self.damaged() {
            let place = (damaged.app.as_str(), damaged.environment.as_str());
            // Damage of the manifest of a version that is in memory.
            let is_of_manifest = damaged.error.is_some() && damaged.in_memory;
            if damaged.error.is_some() && !damaged.in_memory {
                gauges.add_problem("devanture_unloaded_versions", place, 1.0);
            }
            let files = damaged.files.len().saturating_add(usize::from(is_of_manifest));
            if files > 0 {
                let files = u64::try_from(files).unwrap_or(u64::MAX);
                gauges.add_problem("devanture_damaged_files", place, gauge_value(files));
            }
        }
    }
}
