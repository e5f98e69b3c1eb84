//! Flags of `logs`.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use devanture_config::IdPrefix;
use devanture_config::api::{
    SOURCE_ALL_INSTANCES, SOURCE_INSTANCES, SOURCE_RELEASE, SOURCE_REQUESTS, SOURCE_SCHEDULE, StatusFilter,
};
use devanture_config::site_toml::{BadProcessName, ProcessName, RoutePath, ScheduleName};

/// Examples of `logs`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture logs                          the last requests
  devanture logs --tail                   requests and output of instances, as they come, until Ctrl-C
  devanture logs --tail --status 404,5xx --path '/api/*'
  devanture logs --tail --json | jq -r .target
  devanture logs --source web --tail      output of the instances of a process
  devanture logs --source web.2           one of them
  devanture logs --source schedule.digest
  devanture logs --source all-instances --lines 500

A reader that is too slow gets the number of lines that it lost.";

/// Flags of `logs`.
#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
pub(crate) struct LogsArgs {
    /// requests, or output of instances: a process such as web, one instance such as web.2, release, a schedule such
    /// as schedule.digest, or all-instances; by default requests, and with --tail the output of instances too
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<LogSource>,
    /// Go on with new lines as they come
    #[arg(long, short = 'f')]
    pub(crate) tail: bool,
    /// Only these statuses: 404, 5xx or 400-499, or several with commas between
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<StatusFilter>,
    /// Only this path, or with /* at its end all below it
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<RoutePath>,
    /// Only requests that this version answered
    #[arg(long, value_name = "ID")]
    pub(crate) version: Option<IdPrefix>,
    /// Only this method
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// Most remembered lines to print; by default 100, or 10 with --tail
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) lines: Option<u32>,
}

impl LogsArgs {
    /// Returns true if requests are filtered.
    pub(crate) fn filters_requests(&self) -> bool {
        self.status.is_some() || self.path.is_some() || self.version.is_some() || self.method.is_some()
    }

    /// Returns true if the output of instances is shown among requests. A program that reads JSON gets lines of one
    /// kind.
    pub(crate) fn shows_instances_too(&self, is_json: bool) -> bool {
        self.source.is_none() && self.tail && !is_json && !self.filters_requests()
    }
}

/// The source of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogSource {
    /// Requests.
    Requests,
    /// Instances of every process.
    AllInstances,
    /// The release command, which runs before a switch.
    Release,
    /// The runs of a schedule.
    Schedule(ScheduleName),
    /// The instances of a process, or the instance with that number.
    Process(ProcessName, Option<u32>),
}

impl LogSource {
    /// Returns true if instances wrote the lines.
    pub(crate) fn is_of_instances(&self) -> bool {
        *self != Self::Requests
    }
}

impl FromStr for LogSource {
    type Err = BadProcessName;

    fn from_str(text: &str) -> Result<Self, BadProcessName> {
        match text {
            SOURCE_REQUESTS => Ok(Self::Requests),
            SOURCE_ALL_INSTANCES | SOURCE_INSTANCES => Ok(Self::AllInstances),
            SOURCE_RELEASE => Ok(Self::Release),
            name if let Some(Ok(name)) = name.strip_prefix(SOURCE_SCHEDULE).map(str::parse) => Ok(Self::Schedule(name)),
            name => match name.split_once('.').map(|(process, number)| (process, number.parse())) {
                Some((process, Ok(number))) => Ok(Self::Process(process.parse()?, Some(number))),
                _ => Ok(Self::Process(name.parse()?, None)),
            },
        }
    }
}

/// Formats the source for the API.
impl fmt::Display for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests => f.write_str(SOURCE_REQUESTS),
            Self::AllInstances => f.write_str(SOURCE_INSTANCES),
            Self::Release => f.write_str(SOURCE_RELEASE),
            Self::Schedule(name) => write!(f, "{SOURCE_SCHEDULE}{name}"),
            Self::Process(name, None) => name.fmt(f),
            Self::Process(name, Some(number)) => write!(f, "{name}.{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_requests_a_process_or_all_instances() {
        for (typed, sent) in [
            ("requests", Some("requests")),
            ("web", Some("web")),
            ("web.2", Some("web.2")),
            ("web.x", None),
            ("release", Some("release")),
            ("schedule.digest", Some("schedule.digest")),
            ("schedule.Digest", None),
            ("all-instances", Some("instances")),
            ("instances", Some("instances")),
            ("Web", None),
            ("", None),
        ] {
            let read: Option<LogSource> = typed.parse().ok();
            assert_eq!(read.map(|source| source.to_string()).as_deref(), sent, "{typed}");
        }
    }
}
