//! `[watch]`: conditions for undoing a watched switch.

use crate::parsing::reader::Table;

/// Definition of a rise of errors after a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Time before the switch used for comparison, in seconds.
    pub before_s: u64,
    /// Minimum number of bad responses.
    pub errors_min: u64,
    /// Minimum factor between the shares after and before.
    pub factor: u64,
    /// Minimum rise of the share of 404, in percentage points.
    pub not_found_points: u64,
    /// Default time of watching the first node in a rollout that moves one node first, in seconds.
    pub one_first_s: u64,
    /// Minimum number of requests for a decision.
    pub requests_min: u64,
    /// Minimum rise of the share of 5xx, in percentage points.
    pub server_error_points: u64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            before_s: 300,
            errors_min: 5,
            factor: 2,
            not_found_points: 5,
            one_first_s: 30,
            requests_min: 20,
            server_error_points: 1,
        }
    }
}

/// Reads `[watch]`.
pub(super) fn watch(root: &Table<'_, '_>) -> Watch {
    let default = Watch::default();
    let Some(table) = root.table("watch") else { return default };
    let watch = Watch {
        before_s: table.integer("before_s", 10..=3_600).unwrap_or(default.before_s),
        errors_min: table.integer("errors_min", 1..=1_000_000).unwrap_or(default.errors_min),
        factor: table.integer("factor", 1..=1_000).unwrap_or(default.factor),
        not_found_points: table.integer("not_found_points", 0..=100).unwrap_or(default.not_found_points),
        one_first_s: table.integer("one_first_s", 1..=3_600).unwrap_or(default.one_first_s),
        requests_min: table.integer("requests_min", 1..=1_000_000_000).unwrap_or(default.requests_min),
        server_error_points: table.integer("server_error_points", 0..=100).unwrap_or(default.server_error_points),
    };
    table.finish();
    watch
}
