//! Observability of a running edge: the edge's log, the access log, the metrics. Makes no decisions.

mod access;
mod counters;
mod descriptions;
mod gauges;
mod integrity_reports;
mod labels;
mod metrics;
mod noted;
mod own_log;
mod process;
mod requests;
mod series;
mod stripes;
mod tally;

pub use access::{
    AccessLog, BegunReader, LineForm, LinesBefore, LogEvent, LogOutput, LogReader, LogSettings, LogWanted,
    NumberedLine, OpenLog, TooManyReaders,
};
pub use counters::{count_in_app, count_in_place};
pub use descriptions::{Kind, METRICS};
pub use gauges::{GaugeSource, Gauges, gauge_value};
pub use integrity_reports::{
    add_integrity_report, forget_integrity_reports, integrity_reports, keep_integrity_reports, note_integrity_reports,
};
pub use labels::choose_apps;
pub use metrics::{BUCKET_REQUEST, Exposition, INSTANCE_START, PREPARE, describe};
pub use noted::{NOTED_EVERY_S, Noted};
#[cfg(any(test, feature = "testing"))]
pub use own_log::testing::logged;
pub use process::{process_figures, resident_bytes};
pub use requests::{RequestMetrics, TrafficFigures, TrafficRow, TrafficSpan, forget_traffic, keep_traffic, traffic};
pub use tally::{Answers, TALLY_EVERY, Tallies, Tally};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Escapes a label value for Prometheus text format.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Sends the edge's log to standard error as JSON lines; `RUST_LOG` filters the log, `info` by default.
pub fn init_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call, as in tests with two edges, keeps the first log.
    own_log::subscriber(filter, std::io::stderr).try_init().ok();
}
