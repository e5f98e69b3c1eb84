//! Checks the machine: clock, file handles, kernel buffers, and versions.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use devanture_config::limits::Limits;
use tokio::process::Command;
use tokio::time::timeout;

use super::caller::Caller;
use super::finding::Finding;
use super::running::Running;
use super::scrape;
use crate::server::descriptors::Descriptors;
use crate::server::firewall::RECEIVE_BUFFER_BOUND;
use crate::server::kernel::{first_line, number_of};
use devanture_base::clock::now_ms;
use devanture_base::telemetry::gauge_value;
use devanture_serve::listen::{BACKLOG, UDP_RECEIVE_BUFFER_BYTES};

/// Earliest plausible time of a clock: 2025-01-01, in milliseconds since 1970 UTC.
const CLOCK_MS_MIN: u64 = 1_735_689_600_000;
/// Time limit of the query about the clock.
const CLOCK_MAX: Duration = Duration::from_secs(2);
/// Linux' default for the largest socket buffer; a lower limit was configured.
const BUFFER_BYTES_MIN: u64 = 212_992;

/// Checks that the clock is set and synchronized.
pub(super) async fn clock() -> Finding {
    const CHECK: &str = "clock";
    let shown = devanture_config::text::date_time(now_ms());
    if now_ms() < CLOCK_MS_MIN {
        return Finding::fail(CHECK, format!("it says {shown}"), "set it: certificates are refused by a wrong clock");
    }
    match is_synchronized().await {
        Some(true) => Finding::ok(CHECK, format!("it says {shown}, and is kept right by NTP")),
        Some(false) => Finding::warn(
            CHECK,
            format!("it says {shown}, and nothing keeps it right"),
            "turn on NTP, as with `timedatectl set-ntp true`",
        ),
        None => Finding::ok(CHECK, format!("it says {shown}; whether NTP keeps it right is not known here")),
    }
}

/// Returns systemd's report about the kernel's clock; `None` without an answer.
async fn is_synchronized() -> Option<bool> {
    let mut command = Command::new("timedatectl");
    command.args(["show", "--property=NTPSynchronized", "--value"]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = timeout(CLOCK_MAX, command.kill_on_drop(true).output()).await.ok()?.ok()?;
    match output.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

/// Checks that enough file handles exist for the maximum of connections.
pub(super) fn handles(limits: &Limits, running: Option<&Running>) -> Finding {
    const CHECK: &str = "file handles";
    let set = limits.connections_max;
    let needed = Descriptors::needed(set);
    let advice = format!("raise LimitNOFILE of the unit, or `ulimit -Hn`, to {needed}, or lower connections_max");
    // An edge whose local socket cannot be reached has no metrics.
    if let Some(metrics) = running.map(|running| &running.metrics).filter(|metrics| !metrics.is_empty()) {
        let of = |name, label| scrape::value(metrics, name, label).unwrap_or_default();
        let (open, max) = (of("process_open_fds", ""), of("process_max_fds", ""));
        let visitors = of("devanture_connections_max", "visitors");
        let what = format!("{open} of {max} are open; {visitors} connections fit, and connections_max is {set}");
        let fits = visitors >= gauge_value(set);
        return if fits { Finding::ok(CHECK, what) } else { Finding::warn(CHECK, what, advice) };
    }
    let hard = Descriptors::allowed();
    let visitors = hard.of_visitors(set);
    let what = format!("{visitors} connections fit in what this shell may open, and connections_max is {set}");
    if visitors >= set { Finding::ok(CHECK, what) } else { Finding::warn(CHECK, what, advice) }
}

/// Checks that the kernel permits the requested backlog and buffer sizes, which are larger with HTTP/3.
pub(super) fn kernel(tries_http3: bool) -> Vec<Finding> {
    let received = if tries_http3 { UDP_RECEIVE_BUFFER_BYTES } else { BUFFER_BYTES_MIN };
    let backlog = u64::from(BACKLOG.unsigned_abs());
    let bounds = [
        ("net.core.somaxconn", backlog, "connections wait for the edge in a rush"),
        (RECEIVE_BUFFER_BOUND, received, "bytes wait in a socket to be read"),
        ("net.core.wmem_max", BUFFER_BYTES_MIN, "bytes wait in a socket to be sent"),
    ];
    bounds.into_iter().map(|(name, least, meaning)| bound(name, number_of(name), least, meaning)).collect()
}

fn bound(name: &str, found: Option<u64>, least: u64, meaning: &str) -> Finding {
    const CHECK: &str = "kernel";
    match found {
        None => Finding::ok(CHECK, format!("{name} cannot be read here")),
        Some(found) if found < least => Finding::warn(
            CHECK,
            format!("{name} is {found}: only so many {meaning}"),
            format!("`sysctl -w {name}={least}`, and a line in /etc/sysctl.d"),
        ),
        Some(found) => Finding::ok(CHECK, format!("{name} is {found}")),
    }
}

/// The versions for a fault report.
pub(super) struct Versions {
    pub(super) program: &'static str,
    pub(super) kernel: String,
    /// The layout of the data folder, if the folder exists; or the reason why the layout cannot be read.
    pub(super) layout: Result<Option<String>, String>,
}

impl Versions {
    /// Returns the versions without a known data folder.
    pub(super) fn of_machine() -> Self {
        Self::with(Ok(Some("not known".to_owned())))
    }

    pub(super) fn of(data_dir: &Path) -> Self {
        Self::with(match first_line(&data_dir.join("format")) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            // Unknown is not absent: another user's folder may be unreadable.
            read => read.map_err(|error| format!("it cannot be read ({error})")),
        })
    }

    fn with(layout: Result<Option<String>, String>) -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        Self { program: env!("CARGO_PKG_VERSION"), kernel, layout }
    }

    pub(super) fn finding(&self) -> Finding {
        const CHECK: &str = "versions";
        let Self { program, kernel, layout } = self;
        let found = |layout: &str| format!("devanture-edge {program}, Linux {kernel}, data folder: {layout}");
        match layout {
            Ok(layout) => Finding::ok(CHECK, found(layout.as_deref().unwrap_or("no data yet"))),
            Err(reason) => Finding::warn(CHECK, found(reason), Caller::Own.advice()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn a_bound_of_the_kernel_that_is_too_low_comes_with_the_command() {
        let found = bound("net.core.somaxconn", Some(128), 4_096, "connections wait");
        assert_eq!(found.level, Level::Warn);
        assert!(found.advice.unwrap().starts_with("`sysctl -w net.core.somaxconn=4096`"));
        assert_eq!(bound("net.core.somaxconn", Some(4_096), 4_096, "").level, Level::Ok);
        assert_eq!(bound("net.core.somaxconn", None, 4_096, "").level, Level::Ok);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
    fn versions_name_the_layout_of_the_data() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Versions::of(folder.path()).finding().found.ends_with("no data yet"));
        std::fs::write(folder.path().join("format"), "devanture 1\n").unwrap();
        assert!(Versions::of(folder.path()).finding().found.ends_with("devanture 1"));
        // Tests may run as root, who can read every folder; a link to itself is unreadable for every user.
        std::fs::remove_file(folder.path().join("format")).unwrap();
        std::os::unix::fs::symlink("format", folder.path().join("format")).unwrap();
        let found = Versions::of(folder.path()).finding();
        assert_eq!((found.level, found.found.contains("it cannot be read")), (Level::Warn, true), "{found:?}");
    }
}
