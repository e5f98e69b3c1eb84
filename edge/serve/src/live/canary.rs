//! A canary beside the live version: one swap of the live pointer starts, steps and ends a canary, so that a request
//! sees both versions and the share of one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use devanture_config::api::SideCounts;
use devanture_config::{AppName, PlaceName, VersionId};
use devanture_site::canary::{Split, VISITOR_COOKIE};
use http::StatusCode;

use super::load::LoadTurn;
use super::{Current, CurrentSettings, Live, Loader, Place};
use crate::version::{Fill, Version};
use devanture_base::telemetry::{Answers, Tally};
use devanture_store::records::{CanaryRecord, PinsRecord};

/// A version that a share of the visitors gets.
pub struct Canary {
    /// A unique number, also among the steps of a canary.
    pub number: u64,
    /// The version as served to its share.
    pub next: Arc<Current>,
    /// The split of visitors.
    pub split: Split,
    /// The canary's part of the pointer.
    pub record: CanaryRecord,
}

/// Number of canaries so far, each step counted.
static CANARIES: AtomicU64 = AtomicU64::new(0);

impl Canary {
    fn new(next: Current, record: CanaryRecord) -> Self {
        let split = Split::new(&record.deploy, record.share.percent());
        let number = CANARIES.fetch_add(1, Ordering::Relaxed) + 1;
        Self { number, next: Arc::new(next), split, record }
    }

    /// The cookie that identifies visitors.
    #[must_use]
    pub fn cookie(&self) -> &str {
        self.record.cookie.as_ref().map_or(VISITOR_COOKIE, |name| name.as_str())
    }

    /// Returns true if the edge sets the cookie itself.
    #[must_use]
    pub const fn sets_cookie(&self) -> bool {
        self.record.cookie.is_none()
    }
}

/// Records of a pointer beside the live version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Beside {
    pub(super) canary: Option<CanaryRecord>,
    pub(super) pins: Option<PinsRecord>,
}

/// Counters of one version's responses while a canary runs.
#[derive(Default)]
pub struct Side {
    tally: Tally,
    micros: AtomicU64,
}

impl Side {
    /// Counts a response.
    pub fn count(&self, status: StatusCode, elapsed: Duration) {
        self.tally.count(status);
        self.micros.fetch_add(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The responses so far.
    #[must_use]
    pub fn answers(&self) -> Answers {
        self.tally.answers()
    }

    /// The responses so far, with their mean time.
    #[must_use]
    pub fn counts(&self) -> SideCounts {
        let Answers { requests, not_found, server_errors } = self.answers();
        let mean_us = self.micros.load(Ordering::Relaxed).checked_div(requests).unwrap_or_default();
        SideCounts { requests, not_found, server_errors, mean_us }
    }
}

impl Current {
    /// The versions for visitors, the live one first.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<Version>> {
        std::iter::once(&self.version).chain(self.canary.iter().map(|canary| &canary.next.version))
    }

    /// Both sides as served to their visitors, the live version first.
    #[must_use]
    pub fn sides(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let canary = self.canary.iter().map(|canary| Arc::clone(&canary.next));
        std::iter::once(Arc::clone(self)).chain(canary).collect()
    }

    /// The version without canary and pins.
    #[must_use]
    pub(super) fn alone(&self) -> Self {
        let (version, withdrawn) = (Arc::clone(&self.version), Arc::clone(&self.withdrawn));
        Self::new(version, self.live_since_ms(), withdrawn, self.settings.clone())
    }

    /// The version with a canary beside, continuing the counters of `before` for the same canary.
    #[must_use]
    pub(super) fn beside(self, canary: Option<(CanaryRecord, Arc<Version>)>, before: Option<&Self>) -> Self {
        let Some((record, version)) = canary else { return self };
        let known = before.and_then(|before| {
            let canary = before.canary.as_ref().filter(|canary| canary.record.deploy == record.deploy)?;
            Some((before.side.clone()?, canary.next.side.clone()?))
        });
        let (side, canary_side) = known.unwrap_or_default();
        let settings = self.settings.clone();
        let mut next = Self::new(version, record.last_modified_ms(), Arc::clone(&self.withdrawn), settings);
        next.side = Some(canary_side);
        let canary = Some(Arc::new(Canary::new(next, record)));
        Self { canary, side: Some(side), ..self }
    }

    /// The version or its canary loaded again; `None` if neither is `version`.
    pub(super) fn with_reloaded(&self, version: Arc<Version>) -> Option<Self> {
        let is_live = self.version.id == version.id;
        let canary = self.canary.as_ref().map(|canary| (canary.record.clone(), Arc::clone(&canary.next.version)));
        let (live, canary) = match canary {
            _ if is_live => (version, canary),
            Some((record, before)) if before.id == version.id => (Arc::clone(&self.version), Some((record, version))),
            _ => return None,
        };
        let (withdrawn, settings) = (Arc::clone(&self.withdrawn), self.settings.clone());
        let next = Self::new(live, self.live_since_ms(), withdrawn, settings).pinning(self.pins_record());
        Some(next.beside(canary, Some(self)))
    }

    /// The loaded version with the id, live or canary.
    pub(super) fn with_id(&self, id: &VersionId) -> Option<&Arc<Version>> {
        self.versions().find(|version| version.id == *id)
    }
}

impl Live {
    /// Environments with a loaded canary.
    pub fn canaries(&self) -> Vec<(AppName, PlaceName, Arc<Current>)> {
        let mut noted = self.0.canaries.lock();
        let mut running = Vec::new();
        // Under the lock: a canary is recorded after being served, so that no served canary is removed here.
        noted.retain(|(app, name)| {
            let current = self.place(app, name).and_then(|place| place.current());
            let current = current.filter(|current| current.canary.is_some());
            let is_running = current.is_some();
            running.extend(current.map(|current| (app.clone(), name.clone(), current)));
            is_running
        });
        running
    }

    /// Records that a canary runs in a place, if so: called after a change of the served version.
    pub(super) fn note_canary(&self, place: &Place) {
        if place.current.load().as_ref().is_some_and(|current| current.canary.is_some()) {
            self.0.canaries.lock().insert((place.app.clone(), place.name.clone()));
        }
    }
}

impl Loader {
    /// The served versions of a pointer: the live version, and the canary if loadable. Without the canary, all visitors
    /// get the live version.
    pub(super) async fn served(
        &self,
        live: &Live,
        place: &Place,
        (version, since_ms, settings): (Arc<Version>, u64, CurrentSettings),
        (beside, fill, turn): (&Beside, Fill, LoadTurn),
    ) -> Current {
        let record = beside.canary.as_ref();
        // Visitors that return to the live version after a smaller share hold copies older than the step.
        let since_ms = record.and_then(|record| record.stepped_ms).map_or(since_ms, |ms| ms.max(since_ms));
        let current = Current::new(version, since_ms, live.withdrawn(&place.app), settings);
        let current = current.pinning(beside.pins.clone());
        let Some(record) = record else { return current };
        match self.at_hand(live, place, &record.version, (fill, turn)).await {
            Ok(canary) => current.beside(Some((record.clone(), canary)), place.current().as_deref()),
            Err(error) => {
                let (app, environment, version) = (&place.app, &place.name, &record.version);
                tracing::error!(%app, %environment, %version, %error, "a canary cannot be loaded: all visitors get the live version");
                current
            }
        }
    }
}
