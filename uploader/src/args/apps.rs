//! The list of apps.

use clap::Args;
use devanture_config::AppName;

/// The examples below the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture apps                          the first fifty, by their names
  devanture apps --search shop            those with `shop` in their names
  devanture apps --all --json | jq -r '.apps[].app'

A token of one app lists that one.";

/// Flags of `apps`.
#[derive(Debug, Args)]
pub(crate) struct AppsArgs {
    /// Part of their names
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Number of apps
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Only apps behind this one
    #[arg(long, value_name = "APP")]
    pub(crate) after: Option<AppName>,
    /// All of them, however many
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}
