//! Arguments of `instances`, `scale` and `restart`.

use std::str::FromStr;

use clap::Args;
use devanture_config::site_toml::{All, BadProcessName, INSTANCES_MAX, Instances, ProcessName};

/// Examples of `instances`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture instances                     the instances of the backend, with their state
  devanture instances --env staging
  devanture instances --json | jq -r '.instances[].state'";

/// Examples of `scale`.
pub(super) const SCALE_EXAMPLES: &str = "\
Examples:
  devanture scale                         the number of instances of each process, and who set it
  devanture scale web=5                   five, spread over the nodes; returns when they are healthy
  devanture scale web=all                 one on each node
  devanture scale web=5 mailer=0 --env staging
  devanture scale web=default             the number of devanture.toml again
  devanture scale web=5 --dry-run

The number stays through pushes, rollbacks and restarts.";

/// Examples of `restart`.
pub(super) const RESTART_EXAMPLES: &str = "\
Examples:
  devanture restart                       every instance, one after the other
  devanture restart web
  devanture restart mailer --env staging --dry-run";

/// The word for the count of `devanture.toml`.
const DEFAULT: &str = "default";
/// The word for one instance on each node.
const ALL: &str = "all";

/// Flags of `scale`.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Number of instances of a process, `all` for one on each node, or `default` for what devanture.toml says
    #[arg(value_name = "PROCESS=N")]
    pub(crate) wanted: Vec<ScaleTo>,
    /// Do not ask, even if no instance is left to answer requests
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Flags of `restart`.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// Process; all of them by default
    pub(crate) process: Option<ProcessName>,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The number of instances of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScaleTo {
    /// The process.
    pub(crate) process: ProcessName,
    /// The number; `None` for that of `devanture.toml`.
    pub(crate) count: Option<Instances>,
}

/// The reason why a text is not `PROCESS=NUMBER`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadScaleTo {
    /// The text has no `=`, or no number.
    #[error("write PROCESS=N with a number from 0 to {INSTANCES_MAX}, PROCESS={ALL} or PROCESS={DEFAULT}")]
    Form,
    /// The name of the process is invalid.
    #[error(transparent)]
    Process(#[from] BadProcessName),
}

impl FromStr for ScaleTo {
    type Err = BadScaleTo;

    fn from_str(text: &str) -> Result<Self, BadScaleTo> {
        let (process, count) = text.split_once('=').ok_or(BadScaleTo::Form)?;
        let count = match count {
            DEFAULT => None,
            ALL => Some(Instances::All(All::All)),
            number => {
                let count = number.parse().ok().filter(|count| *count <= INSTANCES_MAX).ok_or(BadScaleTo::Form)?;
                Some(Instances::Count(count))
            }
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
        assert_eq!(read("web=5"), Some(("web".to_owned(), Some(Instances::Count(5)))));
        assert_eq!(read("web=all"), Some(("web".to_owned(), Some(Instances::All(All::All)))));
        assert_eq!(read("mailer=0"), Some(("mailer".to_owned(), Some(Instances::Count(0)))));
        assert_eq!(read("web=default"), Some(("web".to_owned(), None)));
        for bad in ["web", "web=", "web=-1", "web=1001", "Web=1", "=1", "web=every"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
