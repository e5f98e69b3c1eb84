//! The rules of a version, as all forms of them are read.

use devanture_config::rules::{HeaderRule, Redirect};

/// Most patterns of a version in which `*` or `:name` is a part of a segment.
pub const EXPRESSIONS_MAX: usize = 100;
/// Most that these may cost together for each byte of a path, by [`Pattern::cost`](devanture_config::rules::Pattern)
/// and how often each is looked at for one request. One is 2.5 µs for the longest path that is compared with them.
pub const EXPRESSION_COST_MAX: usize = 1_200;
/// Most different fields that the rules of a version may set or remove.
pub const FIELD_NAMES_MAX: usize = 200;

/// Most segments, fields and users of the rules that may hold for one path, as far as their first segments tell: those
/// that begin with a placeholder or `*`, with those that begin with one and the same text. Each counts as often as it
/// is looked at for one request.
pub const PARTS_MAX: usize = 100_000;

/// Most conditions of redirects and rewrites in a version, the segments of their paths included: one request may be
/// compared with all of them.
pub const CONDITIONS_MAX: usize = 100_000;

/// Every rule of a version in one environment, in the order in which they are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// Redirects and rewrites; the first that applies counts.
    pub redirects: Vec<Redirect>,
    /// Fields; all that match apply, in order.
    pub headers: Vec<HeaderRule>,
    /// Whether redirects get fields by rules too (Cloudflare's meaning).
    pub redirects_have_fields: bool,
}
