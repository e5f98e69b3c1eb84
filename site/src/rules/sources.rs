//! The sources of a version's rules.

use devanture_config::rules::{At, RuleTable};
use devanture_config::site_toml::{Rules, Serving};

/// Maximum bytes read of one rule file.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The sources of rules.
#[derive(Clone, Copy)]
pub struct Sources<'s> {
    /// The settings of `devanture.toml` for the environment.
    pub serving: &'s Serving,
    /// The provider whose meaning the files have.
    pub meaning: Rules,
    /// The bytes of `_redirects`, if present.
    pub redirects: Option<&'s [u8]>,
    /// The bytes of `_headers`, if present.
    pub headers: Option<&'s [u8]>,
    /// Maximum rules of both kinds together.
    pub rules_max: usize,
    /// The name of `devanture.toml` known to the user.
    pub site_file: &'s str,
    /// The location of a table's rule, by its number from 0: in `devanture.toml`, or in an overlay.
    pub at: &'s dyn Fn(RuleTable, usize) -> At,
}
