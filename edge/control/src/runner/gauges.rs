//! Metrics of present instances, set at each scrape.

use std::collections::BTreeMap;

use devanture_config::api::InstanceStatus;

use super::group::Group;
use super::shared::Shared;
use devanture_base::telemetry::{Gauges, gauge_value};

/// Usage by instances of one name, two during a replacement.
#[derive(Default)]
struct Used {
    memory_bytes: u64,
    memory_bytes_max: u64,
    processes: u64,
    tmp_bytes: u64,
}

impl Used {
    fn add(&mut self, status: &InstanceStatus) {
        let add = |sum: &mut u64, more: Option<u64>| *sum = sum.saturating_add(more.unwrap_or(0));
        add(&mut self.memory_bytes, status.memory_bytes);
        add(&mut self.memory_bytes_max, status.memory_bytes_max);
        add(&mut self.processes, status.processes);
        add(&mut self.tmp_bytes, status.tmp_bytes);
    }
}

impl Shared {
    pub(super) fn add_metrics(&self, gauges: &mut Gauges) {
        let mut counts: BTreeMap<(String, String, String, &'static str), u32> = BTreeMap::new();
        let mut used: BTreeMap<(String, String, String), Used> = BTreeMap::new();
        let place = |group: &Group| (group.id.app.to_string(), group.id.place.clone());
        for group in self.all_groups() {
            for status in self.statuses(&group) {
                let (app, environment) = place(&group);
                let key = (app, environment, status.process.to_string(), status.state.word());
                let count = counts.entry(key).or_default();
                *count = count.saturating_add(1);
                let (app, environment) = place(&group);
                used.entry((app, environment, status.name.clone())).or_default().add(&status);
            }
        }
        for ((app, environment, process, state), count) in counts {
            let more = [("process", process.as_str()), ("state", state)];
            gauges.add_in_place("devanture_instances", (app.as_str(), environment.as_str()), &more, count.into());
        }
        for ((app, environment, name), used) in used {
            let place = (app.as_str(), environment.as_str());
            let more = [("name", name.as_str())];
            let mut add = |gauge, number| gauges.add_in_place(gauge, place, &more, gauge_value(number));
            add("devanture_instance_memory_bytes", used.memory_bytes);
            add("devanture_instance_memory_limit_bytes", used.memory_bytes_max);
            add("devanture_instance_processes", used.processes);
            add("devanture_instance_tmp_bytes", used.tmp_bytes);
        }
        for ((app, environment), bytes, is_too_much) in self.persisted.all() {
            let place = (app.as_str(), environment.as_str());
            gauges.add_in_place("devanture_persist_bytes", place, &[], gauge_value(bytes));
            gauges.add_in_place("devanture_persist_full", place, &[], f64::from(u8::from(is_too_much)));
        }
    }
}
