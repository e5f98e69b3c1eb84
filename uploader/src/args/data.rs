//! Arguments of `data`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use devanture_config::api::SnapshotName;

/// Examples of `data`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture data list                     files of the folder that `persist` names, and snapshots
  devanture data pull backup.tar.zst      one archive; databases of SQLite as they are at one moment
  devanture data pull data --env staging  into a new folder
  devanture data snapshot migration
  devanture data restore migration --yes
  devanture data push data --env staging --replace --yes
  devanture data list --node node-1       of a node of a cluster";

/// Commands about the data of an environment.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// List files and snapshots
    List {
        /// Most files to list
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Download the data, or a snapshot of it, as an archive or into a new folder
    Pull(PullArgs),
    /// Replace the data by an archive or a folder; instances are stopped meanwhile
    Push(PushDataArgs),
    /// Make a snapshot
    Snapshot {
        /// Name; by default the current time
        name: Option<SnapshotName>,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Replace the data by a snapshot; instances are stopped meanwhile
    Restore(SnapshotArgs),
    /// Delete a snapshot
    Delete(SnapshotArgs),
}

/// The node of a cluster with the selected data.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NodeArgs {
    /// Node of a cluster; each keeps data of its own
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
}

/// Flags of `data pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// A file that ends in .tar.zst, or a folder; neither may exist yet
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) to: PathBuf,
    /// A snapshot, in place of the current data
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<SnapshotName>,
    /// Unpack into a folder up to so many bytes, however small the archive is
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_bytes: Option<u64>,
    /// The node.
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// Flags of `data push`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct PushDataArgs {
    /// A file that ends in .tar.zst, or a folder
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) from: PathBuf,
    /// Replace all data that is there; a snapshot of it is made first
    #[arg(long)]
    pub(crate) replace: bool,
    /// Let an empty folder or archive replace all data
    #[arg(long, requires = "replace")]
    pub(crate) allow_empty: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The node.
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// A snapshot that is restored or deleted.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// Name
    pub(crate) name: SnapshotName,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The node.
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}
