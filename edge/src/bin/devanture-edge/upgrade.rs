//! `devanture-edge upgrade --check`: reports the reasons for which an upgrade would fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use devanture_config::edge_toml::EdgeFile;
use devanture_config::text::counted;
use devanture_edge::server::{self, StartError};

use crate::terminal::{print_line, say};
use crate::{Configuration, Failure, read, runtime};

/// Prefix of the line in which a program reports its check.
const NAME: &str = "devanture-edge ";
/// Maximum number of shown notes about damage.
const NOTES_MAX: usize = 20;

/// Flags of `upgrade`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Report what the new program would fail of; exits with 0 or 2, and touches nothing
    #[arg(long)]
    check: bool,
    /// New program; by default the one that is called
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// Checks the running program or another program. No upgrade happens: a new edge takes over at its start.
pub(crate) fn upgrade(arguments: &Arguments, config: &Path) -> Result<(), Failure> {
    if !arguments.check {
        let message = "there is only `upgrade --check`; an upgrade is made by SIGUSR2 to the running edge".to_owned();
        return Err(Failure { message, code: 2 });
    }
    match &arguments.program {
        Some(program) => check_with(program, config),
        None => {
            let Configuration { file, base, .. } = read(config)?;
            runtime()?.block_on(check(&file, &base))
        }
    }
}

/// Runs the check in another program.
fn check_with(program: &Path, config: &Path) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(["upgrade", "--check", "--config"]).arg(config).stdin(Stdio::null());
    let failed = |message: String| Failure { message: format!("{}: {message}", program.display()), code: 2 };
    let done = command.stderr(Stdio::inherit()).output().map_err(|error| failed(error.to_string()))?;
    let (status, said) = (done.status, String::from_utf8_lossy(&done.stdout));
    let has_checked = said.lines().any(|line| line.starts_with(NAME));
    said.lines().for_each(print_line);
    match status.code() {
        Some(0) if has_checked => Ok(()),
        // A different program, for example a script under the name.
        Some(0) => Err(failed("it did not say what it checked, as an edge does".to_owned())),
        // The program has reported the reason.
        Some(2) => Err(Failure { message: String::new(), code: 2 }),
        _ => Err(failed(format!("the check ended with {status}: it may be of a release that has no such check"))),
    }
}

/// Checks the running program.
async fn check(file: &EdgeFile, base: &Path) -> Result<(), Failure> {
    let trial = server::try_upgrade(file, base).await.map_err(|faults| {
        let message = faults.iter().map(StartError::to_string).collect::<Vec<_>>().join("\n");
        Failure { message, code: 2 }
    })?;
    let (records, versions) = (counted(trial.records, "record"), counted(trial.versions, "version"));
    let program = concat!("devanture-edge ", env!("CARGO_PKG_VERSION"));
    let running = match trial.running {
        Some(pid) => format!("it can take over from the edge that runs, process {pid}"),
        None => "no edge runs".to_owned(),
    };
    for note in trial.notes.iter().take(NOTES_MAX) {
        say(&format!("note: {note}"));
    }
    print_line(&format!("{program} reads the configuration and the catalog ({records}, {versions}); {running}"));
    Ok(())
}
