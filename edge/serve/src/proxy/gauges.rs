//! The current pools as metrics: set at each scrape, so that a pool that is gone has none.

use std::collections::BTreeMap;

use super::pool::MemberState;
use super::registry::Registry;
use devanture_base::telemetry::Gauges;

/// The metrics of the pools of one name in one place: those of previews, and of versions that are being left, count
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

/// Gauges are floating: what they hold without loss is enough.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
