//! Where the rules of a version are written.

use devanture_config::rules::{At, RuleTable};
use devanture_config::site_toml::{Rules, Serving};

/// Most bytes that are read of one of these files.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The sources of rules.
#[derive(Clone, Copy)]
pub struct Sources<'s> {
    /// The settings of `devanture.toml` for the environment.
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
    /// Where a rule of one of its tables, by its number from 0, is written: there, or in an overlay.
    pub at: &'s dyn Fn(RuleTable, usize) -> At,
}
