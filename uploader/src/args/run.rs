//! Arguments of `run`.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

/// Examples of `run`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture run -- python manage.py createsuperuser
  devanture run --env staging -- bash     a shell, with a terminal
  devanture run -- ./manage migrate --plan
  devanture run -- ./manage dumpdata > dump.json
  devanture run -- ./manage loaddata - < dump.json
  devanture run --timeout 30s -- ./manage check
  devanture run --node node-1 -- ls data  on that node of a cluster
  devanture run --json -- ./manage check  one line of JSON on stdout, the output of the command on stderr
  devanture run --dry-run -- ./manage check

The command runs in the folder of the live version with the settings and the user of its instances; no shell reads it.
It ends where this program does.

Exit codes: that of the command; 128 and the number of the signal that ended it; 125 where it was not run to its own
end, with the reason; 126 where it may not be executed; 127 where there is no such program.";

/// Flags of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// No terminal for the command, even if this program has one
    #[arg(long)]
    pub(crate) no_tty: bool,
    /// Time after which the command is ended, such as 90s, 10m or 2h; `run_ms_max` of the edge by default
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<Timeout>,
    /// Node of a cluster that runs it; by default the one that is asked
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Print what would run, and run nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// The maximal time of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Duration);

/// The reason why a text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a number of seconds, minutes or hours from 1 on, such as 90s, 10m or 2h")]
pub(crate) struct BadTimeout;

impl FromStr for Timeout {
    type Err = BadTimeout;

    fn from_str(text: &str) -> Result<Self, BadTimeout> {
        let (number, seconds) = [("s", 1), ("m", 60), ("h", 3_600)]
            .into_iter()
            .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
            .ok_or(BadTimeout)?;
        let number: u32 = number.parse().ok().filter(|number| *number > 0).ok_or(BadTimeout)?;
        Ok(Self(Duration::from_secs(u64::from(number) * seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        let seconds = |text: &str| text.parse::<Timeout>().ok().map(|time| time.0.as_secs());
        assert_eq!(["90s", "10m", "2h"].map(seconds), [Some(90), Some(600), Some(7_200)]);
        assert!(["", "90", "0s", "-1s", "1d", "s", "1.5h"].map(seconds).iter().all(Option::is_none));
    }
}
