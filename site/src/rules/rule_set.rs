//! The rules of a version, as all forms of them are read.

use devanture_config::rules::{HeaderRule, Redirect};

/// Most patterns of a version in which `*` or `:name` is a part of a segment.
pub const EXPRESSIONS_MAX: usize = 100;
/// Most different fields that the rules of a version may set or remove.
pub const FIELD_NAMES_MAX: usize = 200;

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
