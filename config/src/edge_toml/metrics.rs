//! `[metrics]`: apps with separate series.

use std::collections::BTreeSet;

use crate::names::AppName;
use crate::parsing::reader::Table;

/// Labels of the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Apps with separate series; the busiest apps by default.
    pub apps: Option<BTreeSet<AppName>>,
}

/// Reads `[metrics]`.
pub(super) fn metrics(root: &Table<'_, '_>) -> Metrics {
    let Some(table) = root.table("metrics") else { return Metrics::default() };
    let apps = table.list("apps").map(|apps: Vec<AppName>| apps.into_iter().collect());
    table.finish();
    Metrics { apps }
}
