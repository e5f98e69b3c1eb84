//! File descriptors: the limit, and the share of connections, so that descriptors are left for files, backends and the
//! API whatever visitors do.

use std::path::Path;

use devanture_config::limits::Limits;
use metrics::gauge;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use devanture_base::telemetry::gauge_value;
use devanture_store::blobs::{Bounds, FreeSpace};

/// The limit of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// `None` if the system has no limit.
    max: Option<u64>,
}

impl Descriptors {
    /// Raises the limit to the system's maximum. The initial limit, often 1,024, is meant for programs that wait with
    /// `select`.
    pub(super) fn take() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the number of open files stays as it was");
        }
        Self { max: getrlimit(Resource::Nofile).current }
    }

    /// Returns the limit that the system would permit, without a change.
    pub(crate) fn allowed() -> Self {
        Self { max: getrlimit(Resource::Nofile).maximum }
    }

    /// Returns the number of descriptors for `connections` of visitors.
    pub(crate) const fn needed(connections: u64) -> u64 {
        connections.saturating_mul(2)
    }

    /// Returns the limits of connections: visitors get at most half of the descriptors, and the API gets an eighth. A
    /// quarter is for sockets to backends, and an eighth for files. Logs a warning if visitors get less than
    /// configured.
    pub(super) fn share(self, limits: &Limits) -> (Limits, Limits) {
        let set = limits.connections_max;
        let (visitors, admin) = (self.of_visitors(set), self.of_admin(set));
        for (listener, connections) in [("visitors", visitors), ("admin", admin)] {
            gauge!("devanture_connections_max", "listener" => listener).set(gauge_value(connections));
        }
        if let Some(descriptors) = self.max.filter(|_| visitors < set) {
            tracing::warn!(
                connections_max = set,
                connections = visitors,
                descriptors,
                needed = Self::needed(set),
                "fewer connections are taken than `connections_max` in edge.toml allows: the process may have too few files \
                 open; raise its hard limit (LimitNOFILE of the systemd unit, `ulimit -Hn`) to `needed`"
            );
        }
        let with = |connections_max| Limits { connections_max, ..limits.clone() };
        (with(visitors), with(admin))
    }

    /// Returns the bounds of the store: at most an eighth of the descriptors.
    pub(super) fn bounds(self, data_dir: &Path, limits: &Limits) -> Bounds {
        let free_space = FreeSpace::new(data_dir.to_owned(), limits.disk_free_bytes_min);
        let files = self.max.map_or(limits.open_files_max, |max| limits.open_files_max.min(max / 8)).max(1);
        Bounds { free_space, open_files_max: usize::try_from(files).unwrap_or(usize::MAX) }
    }

    /// Returns the permitted connections of visitors, at most `set`.
    pub(crate) fn of_visitors(self, set: u64) -> u64 {
        self.max.map_or(set, |max| set.min(max / 2)).max(1)
    }

    /// Returns the permitted sockets to backends, at most `set`.
    pub(super) fn of_backends(self, set: u64) -> u64 {
        self.max.map_or(set, |max| set.min(max / 4)).max(1)
    }

    fn of_admin(self, set: u64) -> u64 {
        self.max.map_or(set, |max| set.min(max / 8)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_descriptor_that_the_system_allows_is_taken() {
        let descriptors = Descriptors::take();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(descriptors.max, limit.maximum);
    }

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        for (max, set, visitors, admin) in [
            (Some(1_024), 65_536, 512, 128),
            (Some(65_536), 65_536, 32_768, 8_192),
            (Some(131_072), 65_536, 65_536, 16_384),
            (Some(1_048_576), 65_536, 65_536, 65_536),
            (Some(1_024), 100, 100, 100),
            (Some(0), 100, 1, 1),
            (None, 65_536, 65_536, 65_536),
        ] {
            let limits = Limits { connections_max: set, ..Limits::default() };
            let (of_visitors, of_admin) = Descriptors { max }.share(&limits);
            assert_eq!((of_visitors.connections_max, of_admin.connections_max), (visitors, admin), "{max:?} {set}");
            let files = Descriptors { max }.bounds(Path::new("."), &limits).open_files_max;
            let files = u64::try_from(files).unwrap();
            let all = visitors + admin + Descriptors { max }.of_backends(65_536) + files;
            assert!(max.is_none_or(|max| all <= max.max(4)), "{all} of {max:?}");
        }
    }

    #[test]
    fn stored_files_take_an_eighth_of_the_descriptors_at_most() {
        for (max, set, files) in
            [(Some(1_024), 4_096, 128), (Some(65_536), 4_096, 4_096), (Some(4), 4_096, 1), (None, 4_096, 4_096)]
        {
            let limits = Limits { open_files_max: set, ..Limits::default() };
            assert_eq!(Descriptors { max }.bounds(Path::new("."), &limits).open_files_max, files, "{max:?} {set}");
        }
    }

    #[test]
    fn the_systemd_unit_allows_the_descriptors_that_the_defaults_need() {
        let limit_of = |unit: &str| -> u64 {
            unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).unwrap().parse().unwrap()
        };
        let limits = Limits::default();
        let edge = limit_of(include_str!("../../../deploy/devanture-edge.service"));
        assert_eq!(Descriptors { max: Some(edge) }.of_visitors(limits.connections_max), limits.connections_max);
        let spawner = limit_of(include_str!("../../../deploy/devanture-spawner.service"));
        assert!(spawner >= limits.instance_open_files_max);
    }
}
