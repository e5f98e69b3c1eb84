//! Rules of a site about its paths, as written: a pattern, a target, fields.
//!
//! The tables of `devanture.toml` are read into these types, so mistakes are found at the position of the table. Files
//! in the formats of Netlify and Cloudflare are read into the same types by `devanture-site`, which also compares rules
//! with each other and applies rules to requests.

pub mod headers;
pub mod pattern;
pub mod redirect;
pub mod tables;
pub mod template;

pub use headers::HeaderRule;
pub use pattern::Pattern;
pub use redirect::Redirect;

/// File of redirects.
pub const REDIRECTS_FILE: &str = "_redirects";
/// File of fields.
pub const HEADERS_FILE: &str = "_headers";

/// Position of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct At {
    /// Name of the file, for display.
    pub file: std::sync::Arc<str>,
    /// Line, from 1; 0 if unknown.
    pub line: usize,
}

impl At {
    /// Returns the position of a whole file.
    #[must_use]
    pub fn whole(file: &str) -> Self {
        Self { file: file.into(), line: 0 }
    }
}

/// Table of `devanture.toml` with rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleTable {
    /// `[cache]`
    Cache,
    /// `[[headers]]`
    Headers,
    /// `[[redirects]]`
    Redirects,
    /// `[[rewrites]]`
    Rewrites,
}
