//! Reports of browsers about what pages load without a hash: read within a bound and a time, and only as many at once.

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
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Handler;
use super::decision::{Decision, ReportMessage, SmallAnswer};
use super::header_rules::HeaderRules;
use crate::telemetry;
use crate::version::Setting;

/// What stands for aliases and versions at their own hostnames.
const PREVIEWS: &str = "preview";

static READING: LazyLock<RwLock<Arc<Reading>>> =
    LazyLock::new(|| RwLock::new(Arc::new(Reading::of(&Limits::default()))));

/// How messages are read: of all apps of the process together.
struct Reading {
    /// Bytes of a message; of a longer one nothing is read.
    bytes_max: usize,
    /// Time for all of a message.
    time_max: Duration,
    /// Messages at once; others are only counted.
    at_once: Semaphore,
}

/// Says within which limits the messages of browsers are read.
pub fn read_integrity_reports(limits: &Limits) {
    *READING.write() = Arc::new(Reading::of(limits));
}

impl Reading {
    fn of(limits: &Limits) -> Self {
        let most = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            bytes_max: most(limits.integrity_report_bytes_max),
            time_max: Duration::from_millis(limits.integrity_report_ms_max),
            at_once: Semaphore::new(most(limits.integrity_reports_reading_max).min(Semaphore::MAX_PERMITS)),
        }
    }
}

impl Handler {
    /// Reads a message, if that was decided, and answers it. It is counted whatever is in it.
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
        if let Ok(_permit) = reading.at_once.try_acquire()
            && let Some(bytes) = read(request, &reading).await
        {
            let place = if version.setting == Setting::Preview { PREVIEWS } else { &version.place };
            let reports = integrity_reports(&bytes, host, telemetry::now_ms());
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

/// The body; `None` of one that is too long, too slow or broken.
async fn read<B>(request: &mut Request<B>, &Reading { bytes_max, time_max, .. }: &Reading) -> Option<Vec<u8>>
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
