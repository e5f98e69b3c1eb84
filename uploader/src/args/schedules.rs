//! Arguments of `schedules`.

use clap::{Args, Subcommand};
use devanture_config::site_toml::ScheduleName;

pub(super) const EXAMPLES: &str = "\
Examples:
  devanture schedules                     every schedule, its next time and its last run
  devanture schedules --env staging
  devanture schedules run digest          run one now, beside its times
  devanture schedules run digest --dry-run
  devanture logs --source schedule.digest
  devanture schedules --json | jq -r '.schedules[] | select(.last.outcome == \"failed\") | .name'";

/// Arguments of `schedules`.
#[derive(Debug, Args)]
pub(crate) struct SchedulesArgs {
    /// The command; by default the schedules are listed.
    #[command(subcommand)]
    pub(crate) command: Option<SchedulesCommand>,
}

/// Commands about schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum SchedulesCommand {
    /// List schedules with their next time and their last run
    List,
    /// Run a schedule now; returns when its command has begun
    Run {
        /// Schedule, as named in devanture.toml
        name: ScheduleName,
        /// Print what would run, and run nothing
        #[arg(long)]
        dry_run: bool,
    },
}
