//! Waits for a group: until started, until healthy.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::site_toml::Server;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::backoff::Backoff;
use super::error::Error;
use super::group::Group;
use super::instance_handle::Slot;
use super::shared::{Report, Shared, ms};

/// Interval of reports about unhealthy instances.
const WAITING_EVERY: Duration = Duration::from_secs(3);

/// Reports on awaited unhealthy instances.
struct WaitReports {
    /// Time of the next reports.
    next: Instant,
    /// Last report of each instance, by serial number.
    last: HashMap<u64, String>,
}

impl WaitReports {
    fn new() -> Self {
        Self { next: Instant::now() + WAITING_EVERY, last: HashMap::new() }
    }

    /// Reports the reasons of ill health, each once: pipeline logs keep every line.
    fn report<'s>(&mut self, node: &str, slots: impl Iterator<Item = &'s Arc<Slot>>, report: Report<'_>) {
        self.next = Instant::now() + WAITING_EVERY;
        for slot in slots {
            let Some(reason) = slot.seen().detail.clone() else { continue };
            if self.last.get(&slot.serial) != Some(&reason) {
                report(&format!("{node}/{} is not healthy yet: {reason}", slot.name));
                self.last.insert(slot.serial, reason);
            }
        }
    }
}

impl Shared {
    /// Waits until the instances of a group are set up and started.
    pub(super) async fn wait_begun(&self, group: &Group) -> Result<(), Error> {
        let mut changes = group.changes();
        loop {
            changes.borrow_and_update();
            {
                let inner = group.inner();
                if let Some(failed) = &inner.failed {
                    return Err(failed.clone());
                }
                if inner.is_begun {
                    return Ok(());
                }
                if inner.is_stopping {
                    return Err(Error::Ended);
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.standstill.left() => return Err(Error::Restarting),
            }
        }
    }

    /// Returns the longest time until all instances of a group are healthy at once: the permitted starts of an
    /// instance, and the delays in between.
    fn healthy_time(&self, server: &Server) -> Duration {
        let starts = self.limits.instance_crashes_max.saturating_add(1);
        let mut backoff =
            Backoff::new(ms(self.limits.instance_restart_ms_min), ms(self.limits.instance_restart_ms_max));
        let waits: Duration = (0..starts).map(|_| backoff.ended(None)).sum();
        ms(self.start_ms(server).saturating_mul(starts)) + waits
    }

    /// Returns the longest time until the instances of a group are healthy, at once or one after the other; instances
    /// of other nodes count as local.
    pub(super) async fn change_time(&self, group: &Group, one_by_one: bool) -> Result<Duration, Error> {
        let server = &group.managed.server;
        let time = self.healthy_time(server);
        if !one_by_one {
            return Ok(time);
        }
        let counts = self.counts(group, server).await?;
        let count =
            counts.values().fold(0, |sum: u64, count| sum.saturating_add(count.own).saturating_add(count.elsewhere));
        Ok(time.saturating_mul(u32::try_from(count.max(1)).unwrap_or(u32::MAX)))
    }

    /// Waits until `slots` are healthy, and reports each, with the state of slow instances. Each is bounded by its own
    /// start, all together by [`Self::healthy_time`].
    pub(super) async fn wait_healthy(
        &self,
        group: &Group,
        slots: &[Arc<Slot>],
        report: Report<'_>,
    ) -> Result<(), Error> {
        use devanture_config::api::InstanceState::Healthy;
        let mut changes = group.changes();
        let mut reported: HashSet<u64> = HashSet::new();
        let node = &self.node;
        let (mut is_first, mut waits) = (true, WaitReports::new());
        let time = self.healthy_time(&group.managed.server);
        let until = Instant::now() + time;
        loop {
            changes.borrow_and_update();
            for slot in slots {
                let (state, took, failed, is_over) = {
                    let seen = slot.seen();
                    (seen.state, seen.healthy_ms, seen.failed.clone(), seen.is_over)
                };
                match (state, took) {
                    (Healthy, _) if is_first => {
                        reported.insert(slot.serial);
                        report(&format!("{node}/{} runs already", slot.name));
                    }
                    (Healthy, Some(took)) if reported.insert(slot.serial) => {
                        report(&format!("{node}/{} healthy in {took} ms", slot.name));
                    }
                    (Healthy, _) => {}
                    _ => {
                        if let Some(failed) = failed {
                            return Err(failed);
                        }
                        if is_over || !slot.is_wanted() {
                            let instance = slot.name.clone();
                            return Err(if group.inner().is_stopping {
                                Error::Ended
                            } else {
                                Error::Unwanted { instance }
                            });
                        }
                        reported.remove(&slot.serial);
                    }
                }
            }
            if reported.len() >= slots.len() {
                return Ok(());
            }
            is_first = false;
            let changed = tokio::select! {
                changed = timeout_at(until, changes.changed()) => changed,
                () = self.standstill.left() => return Err(Error::Restarting),
                () = sleep_until(waits.next) => {
                    waits.report(node, slots.iter().filter(|slot| !reported.contains(&slot.serial)), report);
                    continue;
                }
            };
            if changed.is_err() {
                let Some(slot) = slots.iter().find(|slot| !reported.contains(&slot.serial)) else { return Ok(()) };
                let reason = slot.seen().detail.clone().unwrap_or_else(|| "it did not stay healthy".to_owned());
                let after_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                return Err(Error::NotHealthy { instance: slot.name.clone(), after_ms, reason, lines: slot.lines() });
            }
        }
    }
}
