//! `[metrics]`: which apps have series of their own.

use std::collections::BTreeSet;

use crate::names::AppName;
use crate::parsing::reader::Table;

/// The labels of the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The apps that have series of their own; the busiest ones by default.
    pub apps: Option<BTreeSet<AppName>>,
}

/// Reads `[metrics]`.
pub(super) fn metrics(root: &Table<'_, '_>) -> Metrics {
    let Some(table) = root.table("metrics") else { return Metrics::default() };
    let apps = table.list("apps").map(|apps: Vec<AppName>| apps.into_iter().collect());
    table.finish();
    Metrics { apps }
}
