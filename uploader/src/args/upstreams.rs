//! Words and flags of `upstreams`.

use clap::{Args, Subcommand};
use devanture_config::site_toml::{UpstreamName, UpstreamUrl};

pub(super) const EXAMPLES: &str = "\
Examples:
  devanture upstreams                                     the members of each, and how each is
  devanture upstreams add api http://10.0.0.7:3000        when this ends, it gets requests
  devanture upstreams drain api http://10.0.0.7:3000      no new ones; those under way end
  devanture upstreams remove api http://10.0.0.7:3000 --env staging
  devanture upstreams add api unix:/run/shop/2.sock --dry-run
  devanture upstreams list --json | jq '.upstreams[].members[].backends[].requests'

What is said stays through pushes, rollbacks and restarts. A member that devanture.toml
names is out, once removed, until it is added again.";

/// Words of `upstreams`.
#[derive(Debug, Args)]
pub(crate) struct UpstreamsArgs {
    /// What to do; they are listed where nothing is said.
    #[command(subcommand)]
    pub(crate) command: Option<UpstreamsCommand>,
}

/// What to do with the members of upstreams.
#[derive(Debug, Subcommand)]
pub(crate) enum UpstreamsCommand {
    /// List them with their members: how each is, and how many requests are under way to it
    List,
    /// Have a member get requests: a new one, one that drains, or one that was removed
    Add(MemberArgs),
    /// Have a member get no new requests, and end those under way
    Drain(MemberArgs),
    /// Take a member out; what is under way to it ends
    Remove {
        /// Which one.
        #[command(flatten)]
        member: MemberArgs,
        /// Do not ask, also where it is the last one
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// A member.
#[derive(Debug, Clone, Args)]
pub(crate) struct MemberArgs {
    /// The upstream, as devanture.toml names it
    pub(crate) name: UpstreamName,
    /// The member: http://HOST[:PORT], https://HOST[:PORT] or unix:/PATH
    pub(crate) address: UpstreamUrl,
    /// Say what would change, and change nothing
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
        let Some(Some(UpstreamsCommand::Add(member))) = read("devanture upstreams add api http://10.0.0.7:3000/")
        else {
            panic!("it is not understood");
        };
        assert_eq!((member.name.as_str(), member.address.to_string().as_str()), ("api", "http://10.0.0.7:3000"));
        let removed = read("devanture upstreams remove api unix:/run/x.sock -y --dry-run");
        assert!(matches!(removed, Some(Some(UpstreamsCommand::Remove { yes: true, member })) if member.dry_run));
        for bad in ["add api", "add api 10.0.0.7:3000", "add a/b http://h", "drain api http://h/x", "put api http://h"]
        {
            assert!(read(&format!("devanture upstreams {bad}")).is_none(), "{bad}");
        }
    }
}
