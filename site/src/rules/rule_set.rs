//! The rules of a version, from all forms.

use devanture_config::rules::{HeaderRule, Redirect};

/// Maximum patterns of a version in which `*` or `:name` is a part of a segment.
pub const EXPRESSIONS_MAX: usize = 100;
/// Maximum total cost of these patterns for each byte of a path, by [`Pattern::cost`](devanture_config::rules::Pattern)
/// times the comparisons for one request. One unit is 2.5 µs for the longest path that is compared.
pub const EXPRESSION_COST_MAX: usize = 1_200;
/// Maximum different fields that the rules of a version may set or remove.
pub const FIELD_NAMES_MAX: usize = 200;

/// Maximum segments, fields and users of the rules that may apply to one path, as determined by their first segments:
/// rules that begin with a placeholder or `*`, together with rules that begin with the same text. Each counts once per
/// comparison for one request.
pub const PARTS_MAX: usize = 100_000;

/// Maximum conditions of redirects and rewrites in a version, including the segments of their paths: one request may be
/// compared with all of them.
pub const CONDITIONS_MAX: usize = 100_000;

/// All rules of a version in one environment, in the order of matching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// Redirects and rewrites; the first that applies counts.
    pub redirects: Vec<Redirect>,
    /// Fields; all matches apply, in order.
    pub headers: Vec<HeaderRule>,
    /// True if rules also change the fields of redirects (Cloudflare's meaning).
    pub redirects_have_fields: bool,
}
