//! Time limits and resource limits of an instance: the backend's, within the edge's.

use std::time::Duration;

use devanture_config::site_toml::Server;

use super::shared::{Shared, ms};
use devanture_host::spawner::InstanceLimits;

impl Shared {
    /// Returns the longest start.
    pub(super) fn start_ms(&self, server: &Server) -> u64 {
        server.start_ms.min(self.limits.instance_start_ms_max)
    }

    /// Returns the longest time for running requests at the end of an instance.
    pub(super) fn drain_time(&self, server: &Server) -> Duration {
        ms(server.drain_ms.min(self.limits.instance_drain_ms_max))
    }

    /// Returns the longest time from SIGTERM to SIGKILL.
    pub(super) fn stop_time(&self, server: &Server) -> Duration {
        ms(server.stop_ms.min(self.limits.instance_stop_ms_max))
    }

    /// Returns the limits of an instance: the backend's, where below the edge's.
    pub(super) fn instance_limits(&self, server: &Server) -> InstanceLimits {
        let most = self.limits.instance_memory_bytes_max;
        let cpu_percent = match (server.cpu_percent, self.limits.instance_cpu_percent_max) {
            (Some(wanted), 0) => wanted,
            (Some(wanted), most) => wanted.min(most),
            (None, most) => most,
        };
        let memory_bytes = server.memory_bytes.map_or(most, |wanted| wanted.min(most));
        let persist = if server.persist.is_some() { self.limits.persist_bytes_max } else { 0 };
        // The kernel refuses files larger than any permitted to the instance.
        let file_bytes = memory_bytes.max(self.limits.instance_tmp_bytes_max).max(persist);
        InstanceLimits {
            memory_bytes,
            processes: self.limits.instance_processes_max,
            app_tasks: self.limits.app_tasks_max,
            open_files: self.limits.instance_open_files_max,
            cpu_percent,
            file_bytes,
            temporary_bytes: self.limits.instance_tmp_bytes_max,
            temporary_files: self.limits.instance_tmp_files_max,
        }
    }
}
