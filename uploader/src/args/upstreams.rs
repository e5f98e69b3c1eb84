//! Arguments of `upstreams`.

use clap::{Args, Subcommand};
use devanture_config::site_toml::{UpstreamName, UpstreamUrl};

pub(super) const EXAMPLES: &str = "\
Examples:
  devanture upstreams                                     upstreams and members with their health
  devanture upstreams add api http://10.0.0.7:3000        a new member, or one that was drained
  devanture upstreams add api http://10.0.0.7 --wait      returns when it is up
  devanture upstreams drain api http://10.0.0.7:3000      no new requests; those in flight end
  devanture upstreams drain api http://10.0.0.7 --wait    returns when none is in flight
  devanture upstreams remove api http://10.0.0.7:3000 --env staging
  devanture upstreams add api unix:/run/shop/2.sock --dry-run
  devanture upstreams list --json | jq '.upstreams[].members[].backends[].requests'

Members stay through pushes, rollbacks and restarts. A member that devanture.toml names
stays removed, once removed, until it is added again.";

/// Arguments of `upstreams`.
#[derive(Debug, Args)]
pub(crate) struct UpstreamsArgs {
    /// The command; by default the upstreams are listed.
    #[command(subcommand)]
    pub(crate) command: Option<UpstreamsCommand>,
}

/// Commands about members of upstreams.
#[derive(Debug, Subcommand)]
pub(crate) enum UpstreamsCommand {
    /// List upstreams with their members, their health and their requests in flight
    List,
    /// Send requests to a member: a new one, one that drains, or one that was removed
    Add {
        /// The member.
        #[command(flatten)]
        member: MemberArgs,
        /// Return when all its backends are up, or fail after so many seconds (60 by default)
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", require_equals = true)]
        wait: Option<u32>,
    },
    /// Drain a member: no new requests, those in flight end
    Drain {
        /// The member.
        #[command(flatten)]
        member: MemberArgs,
        /// Return when it has no requests in flight, or fail after so many seconds (60 by default)
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", require_equals = true)]
        wait: Option<u32>,
    },
    /// Remove a member; requests in flight end
    Remove {
        /// The member.
        #[command(flatten)]
        member: MemberArgs,
        /// Do not ask, even if it is the last one
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// A member.
#[derive(Debug, Clone, Args)]
pub(crate) struct MemberArgs {
    /// Upstream, as named in devanture.toml
    pub(crate) name: UpstreamName,
    /// Member: http://HOST[:PORT], https://HOST[:PORT] or unix:/PATH
    pub(crate) address: UpstreamUrl,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn a_member_is_an_upstream_and_an_address() {
        let read = |line: &str| match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
            Ok(Command::Upstreams(args)) => Some(args.command),
            _ => None,
        };
        assert!(matches!(read("devanture upstreams"), Some(None)));
        assert!(matches!(read("devanture upstreams list"), Some(Some(UpstreamsCommand::List))));
        let added = read("devanture upstreams add api http://10.0.0.7:3000/");
        let Some(Some(UpstreamsCommand::Add { member, wait: None })) = added else {
            panic!("it is not understood");
        };
        assert_eq!((member.name.as_str(), member.address.to_string().as_str()), ("api", "http://10.0.0.7:3000"));
        let removed = read("devanture upstreams remove api unix:/run/x.sock -y --dry-run");
        assert!(matches!(removed, Some(Some(UpstreamsCommand::Remove { yes: true, member })) if member.dry_run));
        for (flag, seconds) in [("--wait", 60), ("--wait=5", 5)] {
            let drained = read(&format!("devanture upstreams drain api http://10.0.0.7:3000 {flag}"));
            assert!(
                matches!(drained, Some(Some(UpstreamsCommand::Drain { wait: Some(found), .. })) if found == seconds)
            );
        }
        for bad in ["add api", "add api 10.0.0.7:3000", "add a/b http://h", "drain api http://h/x", "put api http://h"]
        {
            assert!(read(&format!("devanture upstreams {bad}")).is_none(), "{bad}");
        }
    }
}
