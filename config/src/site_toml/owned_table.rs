//! Tables permitted in `owns` of `[server]`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Table that `owns` of `[server]` can assign to the backend's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnedTable {
    /// `[cache]`.
    Cache,
    /// `cors`.
    Cors,
    /// `[[headers]]`.
    Headers,
    /// `[[redirects]]`.
    Redirects,
    /// `[[rewrites]]`.
    Rewrites,
    /// `[[routes]]`.
    Routes,
    /// `[[smoke]]`.
    Smoke,
    /// `[upstreams]`.
    Upstreams,
}

/// Each table with its word in the file.
pub const OWNED_TABLES: &[(&str, OwnedTable)] = &[
    ("cache", OwnedTable::Cache),
    ("cors", OwnedTable::Cors),
    ("headers", OwnedTable::Headers),
    ("redirects", OwnedTable::Redirects),
    ("rewrites", OwnedTable::Rewrites),
    ("routes", OwnedTable::Routes),
    ("smoke", OwnedTable::Smoke),
    ("upstreams", OwnedTable::Upstreams),
];

/// Error for a table that a backend cannot own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a backend may own cache, cors, headers, redirects, rewrites, routes, smoke and upstreams")]
pub struct BadOwnedTable;

impl FromStr for OwnedTable {
    type Err = BadOwnedTable;

    fn from_str(text: &str) -> Result<Self, BadOwnedTable> {
        OWNED_TABLES.iter().find(|(word, _)| *word == text).map(|(_, table)| *table).ok_or(BadOwnedTable)
    }
}
