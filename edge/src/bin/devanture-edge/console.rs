//! `devanture-edge console`: installs, removes and shows the console.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use devanture_config::api::ConsoleStatus;
use devanture_config::edge_toml::EdgeFile;
use devanture_config::text::plain_text::escaped;
use devanture_config::text::{counted, date_time};
use devanture_edge::server;

use super::Failure;
use super::terminal::print_line;

#[derive(Subcommand)]
pub(super) enum ConsoleCommand {
    /// Install a console from a package, in place of another one; without a running edge, at its next start
    Install {
        /// The package: a tar of its files, packed by gzip or zstd or as it is
        file: PathBuf,
    },
    /// Remove the console of the running edge
    Remove,
    /// Show the console of the running edge
    Status {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn console(file: &EdgeFile, base: &Path, command: ConsoleCommand) -> Result<(), Failure> {
    match command {
        ConsoleCommand::Install { file: package } => match server::install_console(file, base, &package).await? {
            Some(status) => print_line(&line(&status)),
            None => print_line("no edge runs over this data folder; the next start installs the console"),
        },
        ConsoleCommand::Remove => print_line(&line(&server::remove_console(file, base).await?)),
        ConsoleCommand::Status { json: true } => {
            print_line(&serde_json::json!(server::show_console(file, base).await?).to_string());
        }
        ConsoleCommand::Status { json: false } => print_line(&line(&server::show_console(file, base).await?)),
    }
    Ok(())
}

fn line(status: &ConsoleStatus) -> String {
    let Some(installed) = &status.installed else { return "no console is installed".to_owned() };
    let served = if status.served { "served below /console/" } else { "not served: `console` in edge.toml is \"off\"" };
    format!(
        "{}  {}, {} bytes  {}  {}  {served}",
        installed.version.short(),
        counted(installed.files, "file"),
        installed.bytes,
        date_time(installed.installed_ms),
        escaped(&installed.who)
    )
}
