//! What a site says about its paths beyond files: redirects, rewrites, fields of answers, caching, access.
//!
//! Rules come in several forms: the files `_redirects` and `_headers` in the meaning of Netlify or Cloudflare, and the
//! tables of `devanture.toml`. Each form is read by a file of its own here, and all come out as one [`RuleSet`], which
//! the edge compiles. What is wrong comes out beside it, as mistakes and doubts with their lines; [`check`] adds what
//! only shows when all rules are looked at together.

pub mod check;
mod cloudflare;
pub mod headers;
mod lines;
mod manifest;
mod netlify;
pub mod pattern;
pub mod redirect;
pub(crate) mod tables;
pub mod template;

pub use headers::HeaderRule;
pub use manifest::of_manifest;
pub use pattern::Pattern;
pub use redirect::Redirect;

use crate::mistake::{Mistake, Weight};
use crate::site_toml::{Rules, Serving};

/// The file of redirects.
pub const REDIRECTS_FILE: &str = "_redirects";
/// The file of fields.
pub const HEADERS_FILE: &str = "_headers";
/// Most bytes that are read of one of these files.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where a rule is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct At {
    /// The file's name as the person knows it.
    pub file: std::sync::Arc<str>,
    /// The line, from 1; 0 where it is not known.
    pub line: usize,
}

/// Every rule of a version in one environment, in the order in which they are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// Redirects and rewrites; the first that applies counts.
    pub redirects: Vec<Redirect>,
    /// Fields; all that match apply, in order.
    pub headers: Vec<HeaderRule>,
    /// Whether a field that several rules set has all their values (Cloudflare's meaning); else the last one's.
    pub joins_fields: bool,
    /// Whether redirects get fields by rules too (Cloudflare's meaning).
    pub redirects_have_fields: bool,
}

/// What rules are read from.
#[derive(Clone, Copy)]
pub struct Sources<'s> {
    /// What `devanture.toml` says for the environment.
    pub serving: &'s Serving,
    /// Whose meaning the files have.
    pub meaning: Rules,
    /// The bytes of `_redirects`, where there is one.
    pub redirects: Option<&'s [u8]>,
    /// The bytes of `_headers`, where there is one.
    pub headers: Option<&'s [u8]>,
    /// Most rules of both kinds together.
    pub rules_max: usize,
    /// The name of `devanture.toml` as the person knows it.
    pub site_file: &'s str,
    /// The line of `devanture.toml` that a rule of one of its tables, by its number from 0, stands in; 0 where it is not
    /// known.
    pub line_of: &'s dyn Fn(RuleTable, usize) -> usize,
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

/// Collects what is wrong with rules.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Mistake>);

impl Findings {
    /// What cannot be read or meant.
    pub fn mistake(&mut self, at: &At, message: impl Into<String>, hint: Option<&str>) {
        self.add(at, Weight::Mistake, message.into(), hint);
    }

    /// What may not mean what it says: what the provider itself accepts, or drops without a word.
    pub fn doubt(&mut self, at: &At, message: impl Into<String>, hint: Option<&str>) {
        self.add(at, Weight::Doubt, message.into(), hint);
    }

    fn add(&mut self, at: &At, weight: Weight, message: String, hint: Option<&str>) {
        let hint = hint.map(str::to_owned);
        self.0.push(Mistake { file: at.file.to_string(), line: at.line, weight, message, hint });
    }
}

/// Reads the rules. What cannot be read is left out of them, and said.
#[must_use]
pub fn read(sources: &Sources<'_>) -> (RuleSet, Vec<Mistake>) {
    let mut findings = Findings::default();
    let mut rules = RuleSet::default();
    if sources.meaning == Rules::Cloudflare {
        rules.joins_fields = true;
        rules.redirects_have_fields = true;
    }
    if let Some(text) = text_of(sources.redirects, REDIRECTS_FILE, &mut findings) {
        rules.redirects = match sources.meaning {
            Rules::Cloudflare => cloudflare::redirects(text, sources.serving.html_handling, &mut findings),
            Rules::Netlify => netlify::redirects(text, sources.rules_max, &mut findings),
        };
    }
    if let Some(text) = text_of(sources.headers, HEADERS_FILE, &mut findings) {
        rules.headers = match sources.meaning {
            Rules::Cloudflare => cloudflare::headers(text, &mut findings),
            Rules::Netlify => netlify::headers(text, sources.rules_max, &mut findings),
        };
    }
    // Rules of files go before those of tables, as at Netlify.
    tables::add(sources, &mut rules, &mut findings);
    let count = rules.redirects.len() + rules.headers.len();
    if count > sources.rules_max {
        let at = At { file: sources.site_file.into(), line: 0 };
        let message = format!("there are more than {} rules", sources.rules_max);
        findings.mistake(&at, message, Some("put several into one with * or :name, or ask for a higher `rules_max`"));
        rules.redirects.truncate(sources.rules_max);
        rules.headers.truncate(sources.rules_max.saturating_sub(rules.redirects.len()));
    }
    (rules, findings.0)
}

/// The text of a file of rules; one that is none is a mistake.
fn text_of<'t>(bytes: Option<&'t [u8]>, file: &str, findings: &mut Findings) -> Option<&'t str> {
    let bytes = bytes?;
    let at = |line| At { file: file.into(), line };
    if bytes.len() > FILE_BYTES_MAX {
        findings.mistake(&at(0), format!("the file has more than {FILE_BYTES_MAX} bytes"), None);
        return None;
    }
    match std::str::from_utf8(bytes) {
        // A byte order mark is no part of the first rule.
        Ok(text) => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let line = bytes.iter().take(error.valid_up_to()).filter(|b| **b == b'\n').count() + 1;
            findings.mistake(&at(line), "this is not UTF-8", None);
            None
        }
    }
}
