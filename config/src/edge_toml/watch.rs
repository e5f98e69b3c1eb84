//! `[watch]`: when a switch that is watched is undone.

use crate::parsing::reader::Table;

/// What counts as a rise of errors after a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// The time before the switch that is compared with, in seconds.
    pub before_s: u64,
    /// So many bad answers at least.
    pub errors_min: u64,
    /// The share must be more than so many times what it was.
    pub factor: u64,
    /// The share of 404 must have risen by so many percentage points.
    pub not_found_points: u64,
    /// How long the first node is watched in a rollout that moves one node first, in seconds, where nothing else is
    /// said.
    pub one_first_s: u64,
    /// So many requests at least, before anything is said.
    pub requests_min: u64,
    /// The share of 5xx must have risen by so many percentage points.
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
