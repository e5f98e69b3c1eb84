//! `cluster`: the CA of a cluster, and the certificates of its nodes.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use devanture_edge::server;

use crate::terminal::print_line;
use crate::{Configuration, Failure, read};

/// The commands below `cluster`.
#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make the CA of a new cluster, and the keys that all its nodes share
    #[command(after_help = "Examples:
  devanture-edge cluster init --out cluster-ca     once; keep the folder apart from the nodes")]
    Init {
        /// Folder to make
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Make the certificate of the node of a configuration, or renew it
    #[command(after_help = "Examples:
  devanture-edge cluster join --ca cluster-ca --config edge.toml")]
    Join {
        /// Folder of the CA
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
    },
}

/// Runs a command.
pub(crate) fn cluster(command: &ClusterCommand, config: &Path) -> Result<(), Failure> {
    match command {
        ClusterCommand::Init { out } => {
            server::cluster_init(out)?;
            let folder = out.display();
            print_line(&format!(
                "{folder} has the CA of a new cluster and the keys that its nodes share: keep a copy, and keep it apart \
                 from the nodes"
            ));
        }
        ClusterCommand::Join { ca } => {
            let Configuration { file, base, .. } = read(config)?;
            let folder = server::cluster_join(&file, &base, ca)?;
            print_line(&format!("{} has the certificate of {}", folder.display(), file.node));
        }
    }
    Ok(())
}
