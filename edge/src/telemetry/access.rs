//! The access log: one JSON line a request, written by a thread of its own so that no request waits for a disk.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use metrics::counter;
use serde::Serialize;

/// What one line tells.
#[derive(Debug, Serialize)]
pub struct AccessRecord {
    /// Milliseconds since 1970 UTC at which the request's head had come in.
    pub at_ms: u64,
    /// The client's address.
    pub client: std::net::IpAddr,
    /// `http/1.1` or `h2`.
    pub protocol: &'static str,
    /// The host that was asked for.
    pub host: String,
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub target: String,
    /// The status.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// Microseconds until the last byte.
    pub us: u64,
    /// The app, where the host belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The environment or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The version's short id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether a backend answered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxied: bool,
}

/// Where access records go. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog(Option<SyncSender<AccessRecord>>);

impl AccessLog {
    /// Writes nothing.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Writes to `writer`; at most `lines_max` records wait for it, further ones are dropped and counted.
    #[must_use]
    pub fn to(writer: Box<dyn Write + Send>, lines_max: usize) -> Self {
        let (sender, receiver) = sync_channel(lines_max);
        let spawned = thread::Builder::new().name("access-log".to_owned()).spawn(move || write_all(&receiver, writer));
        match spawned {
            Ok(_detached) => Self(Some(sender)),
            Err(error) => {
                tracing::error!(%error, "the access log cannot be written: no thread could be started");
                Self(None)
            }
        }
    }

    /// Whether records are wanted: a caller need not make one otherwise.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a record over; never waits.
    pub fn write(&self, record: AccessRecord) {
        if let Some(sender) = &self.0
            && sender.try_send(record).is_err()
        {
            counter!("devanture_access_log_dropped_total").increment(1);
        }
    }
}

/// Ends when the last sender is gone.
fn write_all(records: &Receiver<AccessRecord>, mut writer: Box<dyn Write + Send>) {
    let mut lines = Vec::with_capacity(64 * 1024);
    while let Ok(first) = records.recv() {
        lines.clear();
        // What waits already is written together: one call to the system for a burst.
        for record in std::iter::once(first).chain(records.try_iter()).take(512) {
            if serde_json::to_writer(&mut lines, &record).is_ok() {
                lines.push(b'\n');
            }
        }
        if let Err(error) = writer.write_all(&lines).and_then(|()| writer.flush()) {
            tracing::warn!(%error, "lines of the access log were lost");
        }
    }
}
