//! Reports of browsers about what pages load without a hash: read within a bound and a time, and only as many at once.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use devanture_site::cache;
use devanture_site::integrity::integrity_reports;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::Body;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Handler;
use super::decision::{Decision, ReportMessage, SmallAnswer};
use super::header_rules::HeaderRules;
use crate::telemetry;
use crate::version::Setting;

/// Bytes of a message; of a longer one nothing is read.
const BYTES_MAX: usize = 65_536;
/// Messages that are read at once; others are only counted.
const AT_ONCE: usize = 64;
/// Time for all of a message.
const TIME_MAX: Duration = Duration::from_secs(10);
/// What stands for aliases and versions at their own hostnames.
const PREVIEWS: &str = "preview";

static READING: Semaphore = Semaphore::const_new(AT_ONCE);

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
        if let Ok(_reading) = READING.try_acquire()
            && let Some(bytes) = read(request).await
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
async fn read<B>(request: &mut Request<B>) -> Option<Vec<u8>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BYTES_MAX) {
        return None;
    }
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(request.body_mut()).poll_frame(context)).await {
            bytes.extend_from_slice(frame.ok()?.data_ref().unwrap_or(&Bytes::new()));
            if bytes.len() > BYTES_MAX {
                return None;
            }
        }
        Some(bytes)
    };
    timeout(TIME_MAX, reading).await.ok().flatten()
}
