//! Reports of browsers about resources that pages load without a hash: bounded in size, time and number.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use devanture_config::limits::Limits;
use devanture_site::cache;
use devanture_site::integrity::integrity_reports;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::Body;
use parking_lot::{Mutex, RwLock};
use tokio::time::timeout;

use super::Handler;
use super::decision::{Decision, ReportMessage, SmallAnswer};
use super::header_rules::HeaderRules;
use crate::version::Setting;
use devanture_base::clock;
use devanture_base::telemetry;

/// Label for aliases and for versions at their own hostnames.
const PREVIEWS: &str = "preview";

/// Divisor of the simultaneous reports for one app, so that a flood of one app leaves room for the rest.
const PARTS: usize = 8;

static READING: LazyLock<RwLock<Arc<ReportLimits>>> =
    LazyLock::new(|| RwLock::new(Arc::new(ReportLimits::of(&Limits::default()))));

/// Limits of reading reports, for all apps of the process together.
struct ReportLimits {
    /// Maximum bytes of a report; a longer one is not read.
    bytes_max: usize,
    /// Time for a whole report.
    time_max: Duration,
    /// Maximum simultaneous reports; further ones are only counted.
    at_once: usize,
    /// Reports being read, by app.
    by_app: Mutex<HashMap<String, usize>>,
}

/// Permit for reading a report.
struct Turn {
    reading: Arc<ReportLimits>,
    app: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut by_app = self.reading.by_app.lock();
        if let Some(count) = by_app.get_mut(&self.app) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_app.remove(&self.app);
            }
        }
    }
}

/// Sets the limits for reading reports of browsers.
pub fn read_integrity_reports(limits: &Limits) {
    *READING.write() = Arc::new(ReportLimits::of(limits));
}

impl ReportLimits {
    fn of(limits: &Limits) -> Self {
        let most = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            bytes_max: most(limits.integrity_report_bytes_max),
            time_max: Duration::from_millis(limits.integrity_report_ms_max),
            at_once: most(limits.integrity_reports_reading_max),
            by_app: Mutex::default(),
        }
    }

    /// The permit for a report, if available.
    fn turn(self: &Arc<Self>, app: &str) -> Option<Turn> {
        let mut by_app = self.by_app.lock();
        let all = by_app.values().fold(0, |all: usize, count| all.saturating_add(*count));
        let own = by_app.get(app).copied().unwrap_or_default();
        if all >= self.at_once || own >= self.at_once.div_ceil(PARTS) {
            return None;
        }
        by_app.insert(app.to_owned(), own.saturating_add(1));
        Some(Turn { reading: Arc::clone(self), app: app.to_owned() })
    }
}

impl Handler {
    /// Reads and answers a report, if decided so. The report is counted whatever its content.
    pub(super) async fn reported<B>(&self, decision: Decision, request: &mut Request<B>, host: &str) -> Decision
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (decision, is_protected) = decision.into_inner();
        let Decision::Report(message) = decision else { return decision.protected_if(is_protected) };
        let ReportMessage { current, custom_host } = *message;
        let version = &current.version;
        telemetry::count_in_app("devanture_integrity_reports_total", version.app.as_str(), &[], 1);
        let reading = Arc::clone(&READING.read());
        if let Some(_turn) = reading.turn(version.app.as_str())
            && let Some(bytes) = read(request, &reading).await
        {
            let place = if version.setting == Setting::Preview { PREVIEWS } else { &version.place };
            let reports = integrity_reports(&bytes, host, clock::now_ms());
            telemetry::note_integrity_reports(version.app.as_str(), place, reports);
        }
        let mut headers = HeaderMap::with_capacity(1);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
        let (status, ruled, current) = (StatusCode::NO_CONTENT, HeaderRules::default(), Some(current));
        let answer =
            SmallAnswer { status, headers, body: Bytes::new(), current, ruled, custom_host, status_page: None };
        Decision::from(answer).protected_if(is_protected)
    }
}

/// The body; `None` if too long, too slow or broken.
async fn read<B>(request: &mut Request<B>, &ReportLimits { bytes_max, time_max, .. }: &ReportLimits) -> Option<Vec<u8>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return None;
    }
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(request.body_mut()).poll_frame(context)).await {
            bytes.extend_from_slice(frame.ok()?.data_ref().unwrap_or(&Bytes::new()));
            if bytes.len() > bytes_max {
                return None;
            }
        }
        Some(bytes)
    };
    timeout(time_max, reading).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_app_has_a_part_of_the_turns_and_leaves_the_others_theirs() {
        let limits = Limits { integrity_reports_reading_max: 20, ..Limits::default() };
        let reading = Arc::new(ReportLimits::of(&limits));
        let turns = |app: &str| std::iter::from_fn(|| reading.turn(app)).take(100).collect::<Vec<_>>();
        let flood = turns("flood");
        let shop = turns("shop");
        assert_eq!((flood.len(), shop.len()), (3, 3));
        drop(flood);
        assert_eq!(turns("flood").len(), 3);
        drop(shop);
        assert!(reading.by_app.lock().is_empty());
        let apps: Vec<_> = (0..20).flat_map(|app| turns(&format!("app-{app}"))).collect();
        assert_eq!(apps.len(), 20);
        assert!(
            Arc::new(ReportLimits::of(&Limits { integrity_reports_reading_max: 0, ..limits })).turn("shop").is_none()
        );
    }
}
