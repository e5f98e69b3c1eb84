//! A canary beside the live version: one swap of the live pointer begins, steps and ends it, so that a request sees
//! both versions and the share at one moment.

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
    /// A number that no other one has had: of another share, too.
    pub number: u64,
    /// As it is served to them.
    pub next: Arc<Current>,
    /// Which visitors those are.
    pub split: Split,
    /// The part of the pointer.
    pub record: CanaryRecord,
}

/// How many canaries there were, each step of one counted.
static CANARIES: AtomicU64 = AtomicU64::new(0);

impl Canary {
    fn new(next: Current, record: CanaryRecord) -> Self {
        let split = Split::new(&record.deploy, record.share.percent());
        let number = CANARIES.fetch_add(1, Ordering::Relaxed) + 1;
        Self { number, next: Arc::new(next), split, record }
    }

    /// The cookie that tells visitors apart.
    #[must_use]
    pub fn cookie(&self) -> &str {
        self.record.cookie.as_ref().map_or(VISITOR_COOKIE, |name| name.as_str())
    }

    /// Whether the edge sets that cookie itself.
    #[must_use]
    pub const fn sets_cookie(&self) -> bool {
        self.record.cookie.is_none()
    }
}

/// What a pointer says of versions beside the live one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Beside {
    pub(super) canary: Option<CanaryRecord>,
    pub(super) pins: Option<PinsRecord>,
}

/// The counts of the answers of one version while a canary runs.
#[derive(Default)]
pub struct Side {
    tally: Tally,
    micros: AtomicU64,
}

impl Side {
    /// Counts an answer.
    pub fn count(&self, status: StatusCode, elapsed: Duration) {
        self.tally.count(status);
        self.micros.fetch_add(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The answers so far.
    #[must_use]
    pub fn answers(&self) -> Answers {
        self.tally.answers()
    }

    /// The same, with the mean time that they took.
    #[must_use]
    pub fn counts(&self) -> SideCounts {
        let Answers { requests, not_found, server_errors } = self.answers();
        let mean_us = self.micros.load(Ordering::Relaxed).checked_div(requests).unwrap_or_default();
        SideCounts { requests, not_found, server_errors, mean_us }
    }
}

impl Current {
    /// The versions that visitors get, the live one first.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<Version>> {
        std::iter::once(&self.version).chain(self.canary.iter().map(|canary| &canary.next.version))
    }

    /// As it is served to each of its visitors, the live version first.
    #[must_use]
    pub fn sides(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let canary = self.canary.iter().map(|canary| Arc::clone(&canary.next));
        std::iter::once(Arc::clone(self)).chain(canary).collect()
    }

    /// The same without what is beside it.
    #[must_use]
    pub(super) fn alone(&self) -> Self {
        let (version, withdrawn) = (Arc::clone(&self.version), Arc::clone(&self.withdrawn));
        Self::new(version, self.live_since_ms(), withdrawn, self.settings.clone())
    }

    /// The same with a canary beside it, which goes on counting where `before` did if it is the same one.
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

    /// The same with one of its versions loaded again; `None` if it has no such version.
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

    /// The loaded version of that id, live or the canary.
    pub(super) fn with_id(&self, id: &VersionId) -> Option<&Arc<Version>> {
        self.versions().find(|version| version.id == *id)
    }
}

impl Live {
    /// The environments where a canary runs, as they are loaded here.
    pub fn canaries(&self) -> Vec<(AppName, PlaceName, Arc<Current>)> {
        let mut noted = self.0.canaries.lock();
        let mut running = Vec::new();
        // Under the lock: a canary is noted after it is served, so that none that is served is taken away here.
        noted.retain(|(app, name)| {
            let current = self.place(app, name).and_then(|place| place.current());
            let current = current.filter(|current| current.canary.is_some());
            let is_running = current.is_some();
            running.extend(current.map(|current| (app.clone(), name.clone(), current)));
            is_running
        });
        running
    }

    /// Notes that a canary runs in a place, where one does: called after what is served there has changed.
    pub(super) fn note_canary(&self, place: &Place) {
        if place.current.load().as_ref().is_some_and(|current| current.canary.is_some()) {
            self.0.canaries.lock().insert((place.app.clone(), place.name.clone()));
        }
    }
}

impl Loader {
    /// What a pointer serves in a place: the live version, and the canary where it can be loaded. Without it, all
    /// visitors get the live version.
    pub(super) async fn served(
        &self,
        live: &Live,
        place: &Place,
        (version, since_ms, settings): (Arc<Version>, u64, CurrentSettings),
        (beside, fill, turn): (&Beside, Fill, LoadTurn),
    ) -> Current {
        let record = beside.canary.as_ref();
        // Who goes back to the live version, as the share became smaller, has what is older than the step.
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
