//! The instances of now as metrics: set anew whenever somebody asks.

use std::collections::BTreeMap;

use metrics::gauge;

use super::Shared;
use crate::telemetry::Exposition;

impl Shared {
    pub(super) fn metrics(&self) -> String {
        let mut counts: BTreeMap<(String, String, String, &'static str), u32> = BTreeMap::new();
        for group in self.all_groups() {
            for status in group.statuses(&self.settings.node) {
                let process = status.process.to_string();
                let key = (group.id.app.to_string(), group.id.place.clone(), process, status.state.word());
                let count = counts.entry(key).or_default();
                *count = count.saturating_add(1);
            }
        }
        Exposition::of_now(|| {
            for ((app, environment, process, state), count) in counts {
                gauge!("devanture_instances", "app" => app, "environment" => environment, "process" => process,
                    "state" => state)
                .set(count);
            }
        })
    }
}
