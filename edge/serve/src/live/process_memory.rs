//! Keeps the memory of the whole process within its limit by unloading content.
//!
//! The limit applies to the resident memory reported by the system, and so includes the allocator's fragments, which no
//! counter of the edge includes. While memory is short, the least requested environments are unloaded, files are read
//! from the disk while being sent, and compression after a switch waits. No request is refused.

use std::time::Duration;

use super::{Live, Loader};
use devanture_base::telemetry::resident_bytes;

/// Interval of looks at the memory of the process.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks skipped after an unload: the allocator returns memory with a delay.
const LOOKS_OF_REST: u32 = 8;
/// Percentage of the limit above which memory is short.
const SHORT_ABOVE: u64 = 90;
/// Percentage of the limit up to which memory is sufficient again.
const ENOUGH_UP_TO: u64 = 80;
/// Target percentage of an unload: lower, since unloaded content leaves fragments.
const FREED_TO: u64 = 75;

/// State between two looks.
struct Watched {
    bytes_max: u64,
    is_short: bool,
    rest: u32,
}

/// Step after a look.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// No change.
    Nothing,
    /// Bytes to unload.
    Unload(u64),
    /// End of the shortage.
    End,
}

impl Watched {
    const fn new(bytes_max: u64) -> Self {
        Self { bytes_max, is_short: false, rest: 0 }
    }

    const fn parts(&self, parts: u64) -> u64 {
        (self.bytes_max / 100).saturating_mul(parts)
    }

    fn step(&mut self, resident: u64) -> Step {
        if self.is_short && resident <= self.parts(ENOUGH_UP_TO) {
            (self.is_short, self.rest) = (false, 0);
            return Step::End;
        }
        self.is_short |= resident > self.parts(SHORT_ABOVE);
        if !self.is_short || self.rest > 0 {
            self.rest = self.rest.saturating_sub(1);
            return Step::Nothing;
        }
        self.rest = LOOKS_OF_REST;
        Step::Unload(resident.saturating_sub(self.parts(FREED_TO)))
    }
}

impl Loader {
    /// Keeps the memory of the process within `process_memory_bytes_max` for as long as the edge runs, if set.
    pub async fn keep_process_memory(self, live: Live) {
        let bytes_max = self.memory().process_bytes_max();
        if bytes_max == 0 {
            return;
        }
        let mut watched = Watched::new(bytes_max);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let Some(resident) = resident_bytes() else {
                tracing::warn!(
                    "the system does not say how much memory the process has: `process_memory_bytes_max` limits nothing"
                );
                return;
            };
            let was_short = watched.is_short;
            match watched.step(resident) {
                Step::Nothing => {}
                Step::Unload(bytes) => {
                    if !was_short {
                        tracing::info!(
                            resident,
                            bytes_max,
                            "memory is short: environments are unloaded that are requested least"
                        );
                    }
                    self.begin_shortage(&live, bytes);
                }
                Step::End => {
                    tracing::info!(resident, bytes_max, "memory is short no longer");
                    self.end_shortage();
                }
            }
        }
    }

    /// Unloads versions until `bytes` are freed.
    fn begin_shortage(&self, live: &Live, bytes: u64) {
        self.memory().begin_shortage(bytes);
        self.say_short(true);
        live.unload_beyond(self, None);
    }

    fn end_shortage(&self) {
        self.memory().end_shortage();
        self.say_short(false);
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::limits::Limits;
    use serde_json::json;

    use super::*;
    use crate::live::LoadTarget;
    use crate::live::test_world::World;
    use crate::version::Source;

    #[test]
    fn memory_is_short_from_nine_tenths_on_until_it_is_eight() {
        let mut watched = Watched::new(1_000);
        assert_eq!((watched.step(900), watched.step(901)), (Step::Nothing, Step::Unload(151)));
        for _ in 0..LOOKS_OF_REST {
            assert_eq!(watched.step(990), Step::Nothing, "what was unloaded is not given back yet");
        }
        assert_eq!(watched.step(850), Step::Unload(100), "it was too little");
        assert_eq!((watched.step(800), watched.step(900)), (Step::End, Step::Nothing));
        assert_eq!(watched.step(950), Step::Unload(200));
    }

    #[tokio::test]
    async fn what_is_unloaded_while_memory_is_short_answers_and_is_held_again_afterwards() {
        let world = World::new(&Limits::default()).await;
        let apps = ["docs", "shop", "blog"];
        for app in apps {
            let id = world.store(app, &format!("{app}{}", "page ".repeat(999)), 0, json!({})).await;
            world.point(app, "prod", id).await;
        }
        let request = async |app: &str| {
            let target = LoadTarget::Environment(app.parse().unwrap(), "prod".parse().unwrap());
            assert!(world.loader.load_target(&world.live, &target).await);
        };
        let is_held = |app: &str| {
            let current = world.current(app, "prod").unwrap();
            matches!(current.version.files[0].representations[0].bytes, Source::Memory(_))
        };
        let is_short = world.loader.memory_is_short();
        // The requested version stays; all go if the rest is insufficient.
        request("shop").await;
        world.loader.begin_shortage(&world.live, world.loader.loaded_bytes() / 2);
        assert!(*is_short.borrow() && is_held("shop") && world.current("docs", "prod").is_none());
        world.loader.begin_shortage(&world.live, u64::MAX);
        assert!(apps.into_iter().all(|app| world.current(app, "prod").is_none()));
        request("blog").await;
        assert!(!is_held("blog") && world.current("blog", "prod").unwrap().version.is_lean());
        world.loader.end_shortage();
        assert!(!*is_short.borrow());
        request("docs").await;
        assert!(is_held("docs"));
    }
}
