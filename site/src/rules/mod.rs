//! Rules of a site about its paths: redirects, rewrites, header fields, caching, access.
//!
//! Rules come in several forms: the files `_redirects` and `_headers` in the meaning of Netlify or Cloudflare, and the
//! tables of `devanture.toml`. Each form has its own parser here, and all forms result in one [`RuleSet`], which
//! [`CompiledRules`] prepares for requests. Parsers also return findings, mistakes and warnings with their lines;
//! [`check`] adds findings that appear only in all rules together.

pub mod access;
pub mod check;
mod cloudflare;
mod compiled;
#[cfg(test)]
mod expected;
mod findings;
mod lines;
mod manifest;
mod netlify;
mod of_tables;
pub mod query;
mod read;
pub mod restricted;
mod rule_set;
mod sources;
#[cfg(test)]
mod tests;
pub mod visitor;

pub use compiled::{Access, CompiledRules, FieldChanges, Keeping, Matched, Skip, Varies, append_member};
/// A single rule, shared with `devanture.toml`, and so defined in `devanture-config`.
pub use devanture_config::rules::{
    At, HEADERS_FILE, HeaderRule, Pattern, REDIRECTS_FILE, Redirect, RuleTable, headers, pattern, redirect, template,
};
pub use findings::Findings;
pub use manifest::{of_manifest, tables_checked};
pub use read::read;
pub use rule_set::{CONDITIONS_MAX, EXPRESSION_COST_MAX, EXPRESSIONS_MAX, FIELD_NAMES_MAX, PARTS_MAX, RuleSet};
pub use sources::{FILE_BYTES_MAX, Sources};
pub use visitor::Visitor;
