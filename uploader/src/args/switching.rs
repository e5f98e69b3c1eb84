//! Flags of the commands that make a version live: push, switch, rollback and promote.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use devanture_config::text::Expiry;
use devanture_config::{IdPrefix, PlaceName};

use super::canary::NewCanaryArgs;
use super::examples;
use super::gate::GateArgs;
use super::halves::HalfArgs;

/// Default number of parallel uploads of blobs.
const JOBS: u16 = 8;

/// Flags of `push`.
#[derive(Debug, Args)]
#[command(after_help = examples::PUSH)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct PushArgs {
    /// The folder or archive to push; by default `www` of devanture.toml
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Upload without going live, and print the preview URL
    #[arg(long, conflicts_with = "canary")]
    pub(crate) no_switch: bool,
    /// Go live even if a newer push went live meanwhile
    #[arg(long)]
    pub(crate) force: bool,
    /// Go live only if this version is the one being replaced
    #[arg(long, value_name = "ID")]
    pub(crate) if_live: Option<IdPrefix>,
    /// Point this alias at the version instead of going live; without a name, the branch's
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "", conflicts_with = "canary")]
    pub(crate) alias: Option<String>,
    /// When the alias expires: after 14d, 12h, 90s, at 2030-01-31T12:00:00Z, or never
    #[arg(long, value_name = "WHEN", requires = "alias")]
    pub(crate) expires: Option<Expiry>,
    /// The half to push, if it is one alone.
    #[command(flatten)]
    pub(crate) half: HalfArgs,
    /// Message for the history; by default the subject of the commit
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Commit of the build; by default from git or the CI system
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Option<String>,
    /// Branch of the build; by default from git or the CI system
    #[arg(long, value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    /// Ignore warnings, such as a rule that another provider would drop
    #[arg(long)]
    pub(crate) allow_warnings: bool,
    /// Allow other content under a fingerprinted name; browsers may keep the old one
    #[arg(long)]
    pub(crate) allow_refingerprint: bool,
    /// Checks before the switch, and the watch after it.
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// The canary of the push.
    #[command(flatten)]
    pub(crate) canary: NewCanaryArgs,
    /// Sign the version with this key: a file, or a public key that ssh-agent holds; may be given again
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    pub(crate) sign: Vec<String>,
    /// Refuse files that would be left out
    #[arg(long)]
    pub(crate) strict: bool,
    /// Number of files uploaded in parallel
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
    /// Print the id of the version, ask the edge what it would refuse, and upload nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl PushArgs {
    /// Returns true if the push does not change the live version.
    pub(crate) fn stores_only(&self) -> bool {
        self.no_switch || self.canary.is_wanted()
    }
}

/// Flags of `switch`.
#[derive(Debug, Args)]
#[command(after_help = examples::SWITCH)]
pub(crate) struct SwitchArgs {
    /// Id of the version, or at least its first 6 characters
    pub(crate) id: IdPrefix,
    /// Switch only if this version is the one being replaced
    #[arg(long, value_name = "ID")]
    pub(crate) if_live: Option<IdPrefix>,
    /// Allow other content under a fingerprinted name; browsers may keep the old one
    #[arg(long)]
    pub(crate) allow_refingerprint: bool,
    /// Override a lock, as the person who locked it or an admin
    #[arg(long)]
    pub(crate) force: bool,
    /// Checks before the switch, and the watch after it.
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// The canary of the switch.
    #[command(flatten)]
    pub(crate) canary: NewCanaryArgs,
    /// Print what would change, and change nothing
    #[arg(long, conflicts_with = "canary")]
    pub(crate) dry_run: bool,
}

/// Flags of `rollback`.
#[derive(Debug, Args)]
#[command(after_help = examples::ROLLBACK)]
pub(crate) struct RollbackArgs {
    /// The version; by default the one that was live before
    pub(crate) id: Option<IdPrefix>,
    /// Roll back only if this version is the one being replaced
    #[arg(long, value_name = "ID")]
    pub(crate) if_live: Option<IdPrefix>,
    /// Override a lock, as the person who locked it or an admin
    #[arg(long)]
    pub(crate) force: bool,
    /// Checks before the switch, and the watch after it.
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// Restore the settings that it was live with, too
    #[arg(long)]
    pub(crate) with_settings: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `promote`.
#[derive(Debug, Args)]
#[command(after_help = examples::PROMOTE)]
pub(crate) struct PromoteArgs {
    /// Promote only if this version is live in the environment of --from
    pub(crate) id: Option<IdPrefix>,
    /// Environment whose live version is promoted
    #[arg(long, value_name = "ENV")]
    pub(crate) from: PlaceName,
    /// Environment in which it goes live
    #[arg(long, value_name = "ENV")]
    pub(crate) to: PlaceName,
    /// Promote only if this version is the one being replaced
    #[arg(long, value_name = "ID")]
    pub(crate) if_live: Option<IdPrefix>,
    /// Allow other content under a fingerprinted name; browsers may keep the old one
    #[arg(long)]
    pub(crate) allow_refingerprint: bool,
    /// Override a lock, as the person who locked it or an admin
    #[arg(long)]
    pub(crate) force: bool,
    /// Checks before the switch, and the watch after it.
    #[command(flatten)]
    pub(crate) gate: GateArgs,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
