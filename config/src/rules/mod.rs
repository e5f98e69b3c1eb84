//! Rules of a site about its paths, as they are written: a pattern, a target, fields.
//!
//! These are the types that the tables of `devanture.toml` are read into, so that a mistake is found where the table
//! stands. The files of Netlify's and Cloudflare's form are read into the same types by `devanture-site`, which also
//! compares rules with each other and applies them to requests.

pub mod headers;
pub mod pattern;
pub mod redirect;
pub mod tables;
pub mod template;

pub use headers::HeaderRule;
pub use pattern::Pattern;
pub use redirect::Redirect;

/// The file of redirects.
pub const REDIRECTS_FILE: &str = "_redirects";
/// The file of fields.
pub const HEADERS_FILE: &str = "_headers";

/// Where a rule is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct At {
    /// The file's name as the person knows it.
    pub file: std::sync::Arc<str>,
    /// The line, from 1; 0 where it is not known.
    pub line: usize,
}

impl At {
    /// A whole file.
    #[must_use]
    pub fn whole(file: &str) -> Self {
        Self { file: file.into(), line: 0 }
    }
}

/// A table of `devanture.toml` that holds rules.
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
