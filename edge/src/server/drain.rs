//! The times of a drain, and the ways to shorten a drain.

use std::time::Duration;

use devanture_config::edge_toml::EdgeFile;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::sole_work::SoleWork;
use super::takeover::PredecessorHandle;
use devanture_serve::listen::{Drain, DrainOrder};

/// Times of a drain, by kind of request.
#[derive(Debug, Clone, Copy)]
pub(super) struct DrainTimes {
    pub(super) requests: Duration,
    /// `None` for the time of downloads.
    uploads: Option<Duration>,
    /// `None` for a time that depends on the presence of a successor.
    downloads: Option<Duration>,
    /// Time of uploads and downloads with a successor.
    takeover: Duration,
    event_streams: Duration,
    tunnels: Duration,
    pub(super) deploys: Duration,
    pub(super) runs: Duration,
}

impl DrainTimes {
    pub(super) fn of(file: &EdgeFile) -> Self {
        let ms = Duration::from_millis;
        Self {
            requests: ms(file.drain_timeout_ms),
            uploads: file.drain.uploads_ms.map(ms),
            downloads: file.drain.downloads_ms.map(ms),
            takeover: ms(file.drain.takeover_ms),
            event_streams: ms(file.drain.event_streams_ms),
            tunnels: ms(file.drain.tunnels_ms),
            deploys: ms(file.drain.deploys_ms),
            runs: ms(file.drain.runs_ms),
        }
    }

    /// Returns the order to drain from `now` on. With a successor, the end of the process delays no visitor: requests
    /// that a client would have to repeat get more time.
    pub(super) fn order(&self, now: Instant, has_successor: bool) -> DrainOrder {
        let of_bodies = if has_successor { self.takeover } else { self.requests };
        DrainOrder {
            requests: now + self.requests,
            uploads: now + self.uploads.unwrap_or(of_bodies),
            downloads: now + self.downloads.unwrap_or(of_bodies),
            event_streams: now + self.event_streams,
            tunnels: now + self.tunnels,
            deploys: now + self.deploys,
            has_successor,
        }
    }
}

/// Urgency of the end of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Haste {
    No,
    /// As fast as an edge without a successor.
    Some,
    AtOnce,
}

/// Handle to shorten a drain, also before its begin. Clones refer to the same drain.
#[derive(Debug, Clone)]
pub struct DrainHaste(watch::Sender<Haste>);

impl DrainHaste {
    /// Limits uploads and downloads to the times of an edge without a successor, from now on; never extends their
    /// times.
    pub fn shorten(&self) {
        self.become_at_least(Haste::Some);
    }

    /// Cuts all requests in flight, and ends all waits.
    pub fn end_at_once(&self) {
        self.become_at_least(Haste::AtOnce);
    }

    fn become_at_least(&self, haste: Haste) {
        self.0.send_if_modified(|before| {
            let is_more = haste > *before;
            *before = haste.max(*before);
            is_more
        });
    }

    /// Waits for the order to end at once.
    pub(super) async fn at_once(&self) {
        // The sender lives as long as `self`.
        drop(self.0.subscribe().wait_for(|haste| *haste == Haste::AtOnce).await);
    }
}

/// The drain of an edge: the order and its inputs, before and during the drain.
pub(super) struct DrainControl {
    pub(super) order: watch::Sender<Option<DrainOrder>>,
    times: Mutex<DrainTimes>,
    pub(super) haste: DrainHaste,
    pub(super) sole: SoleWork,
}

impl DrainControl {
    pub(super) fn of(file: &EdgeFile, sole: &SoleWork) -> Self {
        Self {
            order: watch::Sender::new(None),
            times: Mutex::new(DrainTimes::of(file)),
            haste: DrainHaste(watch::Sender::new(Haste::No)),
            sole: sole.clone(),
        }
    }

    pub(super) fn times(&self) -> DrainTimes {
        *self.times.lock()
    }

    pub(super) fn set_times(&self, times: DrainTimes) {
        *self.times.lock() = times;
    }

    /// Returns the order, for drained parts.
    pub(super) fn subscribe(&self) -> Drain {
        self.order.subscribe()
    }

    pub(super) fn haste(&self) -> DrainHaste {
        self.haste.clone()
    }
}

/// Shortens the order on request, and the drain of the predecessor too.
pub(super) async fn hasten(
    order: watch::Sender<Option<DrainOrder>>,
    haste: DrainHaste,
    times: DrainTimes,
    before: PredecessorHandle,
) {
    let mut haste = haste.0.subscribe();
    loop {
        let (now, asked) = (Instant::now(), *haste.borrow_and_update());
        let is_changed = order.send_if_modified(|order| {
            let hastened = order.map(|order| match asked {
                Haste::Some if order.has_successor => order.no_later_than(times.order(now, false)),
                Haste::No | Haste::Some => order,
                Haste::AtOnce => order.no_later_than(DrainOrder::until(now)),
            });
            std::mem::replace(order, hastened) != hastened
        });
        match asked {
            Haste::Some if is_changed => {
                tracing::info!("the drain ends sooner: uploads and downloads have the time that they have in a stop");
            }
            Haste::AtOnce => tracing::warn!("the drain ends at once: what is under way is cut"),
            Haste::No | Haste::Some => {}
        }
        if asked != Haste::No {
            before.end_sooner();
        }
        if haste.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the seconds of uploads and of downloads.
    fn bodies(table: &str, has_successor: bool) -> [u64; 2] {
        let text = format!(
            "data_dir = \"data\"\ndomain = \"localhost\"\npreview_domain = \"localhost\"\n{table}\n\
             [listen]\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[tls]\nmode = \"self-signed\"\n"
        );
        let (file, now) = (EdgeFile::parse("edge.toml", &text).unwrap(), Instant::now());
        let order = DrainTimes::of(&file).order(now, has_successor);
        assert_eq!(
            [order.requests, order.event_streams, order.tunnels, order.deploys],
            [now + Duration::from_secs(10); 4]
        );
        [order.uploads, order.downloads].map(|time| (time - now).as_secs())
    }

    #[test]
    fn uploads_and_downloads_have_longer_where_a_successor_serves_unless_their_time_is_set() {
        assert_eq!([bodies("", false), bodies("", true)], [[10, 10], [3_600, 3_600]]);
        let short = "[drain]\ntakeover_ms = 60_000";
        assert_eq!([bodies(short, false), bodies(short, true)], [[10, 10], [60, 60]]);
        let set = "[drain]\ndownloads_ms = 20_000";
        assert_eq!([bodies(set, false), bodies(set, true)], [[10, 20], [3_600, 20]]);
    }

    #[tokio::test]
    async fn a_drain_ends_sooner_and_never_later_and_the_edge_before_with_it() {
        let times = DrainTimes {
            requests: Duration::from_secs(10),
            uploads: None,
            downloads: Some(Duration::from_secs(40)),
            takeover: Duration::from_secs(3_600),
            event_streams: Duration::from_secs(1),
            tunnels: Duration::from_secs(10),
            deploys: Duration::from_secs(10),
            runs: Duration::from_secs(10),
        };
        let begun = Instant::now();
        let first = times.order(begun, true);
        let (order, haste, before) =
            (watch::Sender::new(Some(first)), watch::Sender::new(Haste::No), PredecessorHandle::default());
        let (mut drain, haste) = (order.subscribe(), DrainHaste(haste));
        // A request before the begin of the drain counts too.
        haste.shorten();
        let hastening = tokio::spawn(hasten(order, haste.clone(), times, before.clone()));
        drain.changed().await.unwrap();
        before.is_to_end_sooner().await;
        let shortened = drain.borrow_and_update().unwrap();
        let expected = DrainOrder { uploads: shortened.uploads, ..first };
        assert_eq!(shortened, expected);
        assert!(shortened.uploads <= Instant::now() + times.requests && shortened.uploads >= begun + times.requests);
        haste.end_at_once();
        // The drain ends at once already.
        haste.shorten();
        drain.changed().await.unwrap();
        let ended = drain.borrow_and_update().unwrap();
        assert!(ended.last() <= Instant::now() && ended.tunnels <= Instant::now() && ended.has_successor);
        haste.at_once().await;
        hastening.abort();
    }
}
