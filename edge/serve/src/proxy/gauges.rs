//! Metrics of the current pools, set at each scrape, so that a dropped pool has no metrics.

use std::collections::BTreeMap;

use super::pool::MemberState;
use super::registry::Registry;
use devanture_base::telemetry::Gauges;

/// The summed metrics of pools with one name in one environment: pools of previews, and of replaced versions, count
/// together.
#[derive(Default)]
struct Sums {
    by_state: BTreeMap<&'static str, u32>,
    requests: u32,
    waiting: u32,
}

impl Registry {
    /// Adds every pool.
    pub fn add_metrics(&self, gauges: &mut Gauges) {
        let mut sums: BTreeMap<(String, String, String), Sums> = BTreeMap::new();
        for pool in self.all() {
            let key = &pool.key;
            let of = sums.entry((key.app.to_string(), key.place.clone(), key.name.clone())).or_default();
            of.waiting = of.waiting.saturating_add(number(pool.waiting()));
            for state in MemberState::ALL {
                of.by_state.entry(state.word()).or_default();
            }
            for member in pool.members().iter() {
                *of.by_state.entry(member.state().word()).or_default() += 1;
                of.requests = of.requests.saturating_add(number(member.in_flight()));
            }
        }
        for ((app, environment, upstream), of) in sums {
            let place = (app.as_str(), environment.as_str());
            let upstream = ("upstream", upstream.as_str());
            gauges.add_in_place("devanture_upstream_requests", place, &[upstream], of.requests.into());
            gauges.add_in_place("devanture_upstream_waiting", place, &[upstream], of.waiting.into());
            for (state, count) in of.by_state {
                gauges.add_in_place("devanture_upstream_members", place, &[upstream, ("state", state)], count.into());
            }
        }
    }
}

/// Converts a count; gauges are floating-point numbers, and `u32` converts without loss.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
