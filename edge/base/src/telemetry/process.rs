//! Figures of the process, under the names common to all Prometheus client libraries.

use std::sync::LazyLock;

use super::{Gauges, gauge_value};
use crate::clock::since_epoch;

/// Start time of the process, approximated by the first access.
static BEGAN_S: LazyLock<f64> = LazyLock::new(|| since_epoch().as_secs_f64());

/// Adds the figures of the process: memory, CPU time, descriptors.
pub fn process_figures(gauges: &mut Gauges) {
    gauges.add("devanture_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    if let Some(stat) = Stat::read() {
        gauges.add("process_cpu_seconds_total", &[], stat.cpu_seconds);
        gauges.add("process_virtual_memory_bytes", &[], stat.virtual_bytes);
        gauges.add("process_resident_memory_bytes", &[], stat.resident_bytes);
        gauges.add("process_threads", &[], stat.threads);
        gauges.add("process_start_time_seconds", &[], stat.start_s.unwrap_or(*BEGAN_S));
    }
    if let Some(open) = open_descriptors() {
        gauges.add("process_open_fds", &[], gauge_value(open));
    }
    if let Some(max) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        gauges.add("process_max_fds", &[], gauge_value(max));
    }
}

/// Returns the resident memory of the process in bytes; `None` if the system does not report the memory.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(u64::try_from(rustix::param::page_size()).ok()?))
}

/// Returns the number of open file descriptors. Linux 6.2 and later report the number as the length of the folder; on
/// earlier kernels the folder is read.
fn open_descriptors() -> Option<u64> {
    let folder = "/proc/self/fd";
    match std::fs::metadata(folder).ok()?.len() {
        0 => u64::try_from(std::fs::read_dir(folder).ok()?.count()).ok(),
        length => Some(length),
    }
}

/// Fields of `/proc/self/stat` (proc_pid_stat(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
    start_s: Option<f64>,
}

impl Stat {
    fn read() -> Option<Self> {
        let boot_s = std::fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time_s(&text));
        let (ticks, page) = (rustix::param::clock_ticks_per_second(), rustix::param::page_size());
        Self::parse(&std::fs::read_to_string("/proc/self/stat").ok()?, ticks, page, boot_s)
    }

    fn parse(text: &str, ticks_per_second: u64, page_bytes: usize, boot_s: Option<u64>) -> Option<Self> {
        // The program name may contain any byte, including a parenthesis.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The manual numbers the fields from 1; the first field here is 3.
        let field = |at: usize| fields.get(at.checked_sub(3)?)?.parse::<u64>().ok();
        let seconds = |ticks: u64| gauge_value(ticks) / gauge_value(ticks_per_second.max(1));
        Some(Self {
            cpu_seconds: seconds(field(14)?) + seconds(field(15)?),
            threads: gauge_value(field(20)?),
            virtual_bytes: gauge_value(field(23)?),
            resident_bytes: gauge_value(field(24)?.saturating_mul(u64::try_from(page_bytes).ok()?)),
            start_s: boot_s.map(gauge_value).zip(field(22).map(seconds)).map(|(boot, since)| boot + since),
        })
    }
}

/// Returns the boot time of the machine in seconds since 1970 UTC.
fn boot_time_s(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_process_are_read_whatever_it_is_called() {
        let text =
            "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 12 0 5000 1000000 300 18446744073709551615 1 1 0";
        let stat = Stat::parse(text, 100, 4096, Some(1_000)).unwrap();
        assert_eq!((stat.cpu_seconds, stat.threads, stat.virtual_bytes), (3.0, 12.0, 1_000_000.0));
        assert_eq!((stat.resident_bytes, stat.start_s), (300.0 * 4096.0, Some(1_050.0)));
        for bad in ["", "7 (a", "7 (a) S 1", "7 (a) S x x x"] {
            assert_eq!(Stat::parse(bad, 100, 4096, None), None, "{bad}");
        }
        assert_eq!(boot_time_s("cpu 1 2\nbtime 1700000000\nprocesses 9\n"), Some(1_700_000_000));
    }

    #[test]
    fn this_process_has_memory_threads_and_open_files() {
        let mut gauges = Gauges::default();
        process_figures(&mut gauges);
        let text = gauges.render();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1_000_000.0 && value("process_threads") >= 1.0);
        assert!(resident_bytes().unwrap() > 1_000_000);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_start_time_seconds") > 1_600_000_000.0, "{text}");
        assert!(text.contains("devanture_build_info{version=\""), "{text}");
    }
}
