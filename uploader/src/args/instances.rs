//! Words and flags of `instances`, `scale` and `restart`.

use std::str::FromStr;

use clap::Args;
use devanture_config::site_toml::{BadProcessName, INSTANCES_MAX, ProcessName};

/// Examples of `instances`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture instances                     the processes of the backend, and how each is
  devanture instances --env staging
  devanture instances --json | jq -r '.instances[].state'";

/// Examples of `scale`.
pub(super) const SCALE_EXAMPLES: &str = "\
Examples:
  devanture scale                         how many there are of each process, and who says so
  devanture scale web=5                   five on each node; when this ends, they are healthy
  devanture scale web=5 mailer=0 --env staging
  devanture scale web=default             what devanture.toml says again
  devanture scale web=5 --dry-run

What is said stays through pushes, rollbacks and restarts.";

/// Examples of `restart`.
pub(super) const RESTART_EXAMPLES: &str = "\
Examples:
  devanture restart                       every instance, one after the other
  devanture restart web
  devanture restart mailer --env staging --dry-run";

/// The word for what `devanture.toml` says.
const DEFAULT: &str = "default";

/// Flags of `scale`.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// How many of which process, on each node; `default` is what devanture.toml says
    #[arg(value_name = "PROCESS=N")]
    pub(crate) wanted: Vec<ScaleTo>,
    /// Do not ask, also where nothing is left that answers requests
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `restart`.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Which process; all of them where nothing is said
    pub(crate) process: Option<ProcessName>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How many of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScaleTo {
    /// The process.
    pub(crate) process: ProcessName,
    /// How many; what `devanture.toml` says where there is nothing.
    pub(crate) count: Option<u64>,
}

/// Says why a text is not how many of a process there are to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadScaleTo {
    /// It has no `=`, or no number.
    #[error("write PROCESS=N with a number from 0 to {INSTANCES_MAX}, or PROCESS={DEFAULT}")]
    Form,
    /// The process is none.
    #[error(transparent)]
    Process(#[from] BadProcessName),
}

impl FromStr for ScaleTo {
    type Err = BadScaleTo;

    fn from_str(text: &str) -> Result<Self, BadScaleTo> {
        let (process, count) = text.split_once('=').ok_or(BadScaleTo::Form)?;
        let count = match count {
            DEFAULT => None,
            number => Some(number.parse().ok().filter(|count| *count <= INSTANCES_MAX).ok_or(BadScaleTo::Form)?),
        };
        Ok(Self { process: process.parse()?, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_scaled_to_a_number_or_to_what_the_file_says() {
        let read = |text: &str| text.parse::<ScaleTo>().ok().map(|to| (to.process.to_string(), to.count));
        assert_eq!(read("web=5"), Some(("web".to_owned(), Some(5))));
        assert_eq!(read("mailer=0"), Some(("mailer".to_owned(), Some(0))));
        assert_eq!(read("web=default"), Some(("web".to_owned(), None)));
        for bad in ["web", "web=", "web=-1", "web=1001", "Web=1", "=1", "web=all"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
