//! Paused environments, as recorded in the catalog.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use devanture_config::api::Pause;
use devanture_config::{AppName, PlaceName};

use super::{Follower, Place};
use crate::version::Setting;
use devanture_store::catalog::{Record, Revision};
use devanture_store::records::{self, PauseRecord};

impl Place {
    /// The pause, if any.
    #[must_use]
    pub fn paused(&self) -> Option<Arc<Pause>> {
        // A thread that sees the announcement of a pause sees the pause, too.
        if self.is_paused.load(Ordering::Acquire) { self.paused.load_full() } else { None }
    }

    /// Sets or ends the pause. Only the follower calls the function.
    fn pause(&self, pause: Option<Arc<Pause>>) {
        let is_paused = pause.is_some();
        self.paused.store(pause);
        self.is_paused.store(is_paused, Ordering::Release);
    }
}

impl Follower {
    /// Follows `paused/{app}/{env}`.
    pub(super) fn pause(&self, key: &str, value: Option<&Arc<[u8]>>, revision: Revision) {
        let mut parts = key.split('/').skip(1);
        let (Some(Ok(app)), Some(Ok(name))) =
            (parts.next().map(str::parse::<AppName>), parts.next().map(str::parse::<PlaceName>))
        else {
            return;
        };
        let Some(place) = self.live.place(&app, &name).filter(|place| place.setting == Setting::Environment) else {
            return;
        };
        let record = value.map(|value| Record { value: Arc::clone(value), revision });
        match record.map(|record| records::read::<PauseRecord>(key, &record)).transpose() {
            // After a full read, the watch still holds commits contained in the read.
            Ok(pause) if place.pause_written.fetch_max(revision, Ordering::AcqRel) <= revision => {
                tracing::info!(app = %app, environment = %name, paused = pause.is_some(), "pause");
                place.pause(pause.map(|pause| Arc::new(pause.into())));
            }
            Ok(_) => {}
            Err(error) => tracing::error!(key, %error, "a pause cannot be read: it stays as it was"),
        }
    }

    /// Ends the pauses with a record deleted unnoticed.
    pub(super) fn end_pauses_but(&self, pauses: &[(String, Record)]) {
        for place in self.live.0.hosts.load().places.values() {
            let key = records::paused_key(&place.app, &place.name);
            if !pauses.iter().any(|(there, _)| *there == key) {
                place.pause(None);
            }
        }
    }
}
