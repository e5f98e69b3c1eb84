//! Flags of `logs`.

use clap::Args;
use devanture_config::digest::IdPrefix;
use devanture_config::logs::StatusFilter;
use devanture_config::site_toml::RoutePath;

/// Examples of `logs`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture logs                          the last requests that the edge remembers
  devanture logs --tail                   requests as they are answered, until Ctrl-C
  devanture logs --tail --status 404,5xx --path '/api/*'
  devanture logs --tail --json | jq -r .target

A reader that is too slow is told how many lines it lost.";

/// Flags of `logs`.
#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
pub(crate) struct LogsArgs {
    /// Go on with requests as they are answered
    #[arg(long, short = 'f')]
    pub(crate) tail: bool,
    /// Only these statuses: 404, 5xx or 400-499, or several with commas between
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<StatusFilter>,
    /// Only this path, or with /* at its end all below it
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<RoutePath>,
    /// Only what this version answered
    #[arg(long, value_name = "ID")]
    pub(crate) version: Option<IdPrefix>,
    /// Only this method
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// How many remembered lines at most; 100, or 10 with --tail, where nothing is said
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) lines: Option<u32>,
}
