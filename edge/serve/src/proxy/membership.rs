//! The members of a pool: declared in `devanture.toml`, set by the API, and resolved from names.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use devanture_config::site_toml::{Scripts, Upstream, UpstreamUrl};

use super::address::{Endpoint, Host, NodeInstance, host_and_port};
use super::fastcgi::Backend;
use super::managed_backends::PoolRun;
use super::pool::{Member, Pool, Resolved};
use super::run::{RunNow, RunState};
use devanture_store::records::StoredDesired;
use devanture_store::records::upstreams::MembersRecord;

/// Maximum number of members of one pool, with all names resolved: DNS may return thousands of addresses for each name.
const POOL_MEMBERS_MAX: usize = 1_000;

/// The resolved names of a pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct ResolvedNames {
    /// The resolved addresses of names.
    pub(crate) addresses: HashMap<UpstreamUrl, Vec<SocketAddr>>,
    /// Reasons of failed names.
    pub(crate) failed: HashMap<UpstreamUrl, String>,
}

/// A required address of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberSpec {
    pub(crate) address: UpstreamUrl,
    pub(crate) is_draining: bool,
    /// True if loopback and private addresses are permitted: the author of the declaration or addition was trusted.
    pub(crate) trusted: bool,
}

/// Returns the addresses of a pool: the declared addresses with the given trust, then the added addresses.
pub(crate) fn wanted(declared: &Upstream, trusted: bool, record: Option<&MembersRecord>) -> Vec<MemberSpec> {
    let desired = |address: &UpstreamUrl| record.and_then(|record| record.members.get(address));
    let of = |address: &UpstreamUrl| {
        let entry = desired(address);
        let is_draining = entry.is_some_and(|entry| entry.desired == StoredDesired::Drain);
        let trusted = trusted && declared.to.contains(address) || entry.is_some_and(|entry| entry.trusted);
        MemberSpec { address: address.clone(), is_draining, trusted }
    };
    let is_in = |address: &&UpstreamUrl| desired(address).is_none_or(|entry| entry.desired != StoredDesired::Out);
    let kept = declared.to.iter().filter(is_in).map(of);
    let added = record.iter().flat_map(|record| record.members.keys());
    kept.chain(added.filter(|address| !declared.to.contains(address)).filter(is_in).map(of)).collect()
}

/// Returns the name that an address has to be resolved by, and the port.
pub(crate) fn name_of(address: &UpstreamUrl) -> Option<(String, u16)> {
    if address.socket().is_some() {
        return None;
    }
    match host_and_port(address) {
        (Host::Name(name), port) => Some((name, port)),
        (Host::Address(_), _) => None,
    }
}

/// Returns the endpoints of an address; for a name, the known addresses.
fn endpoints(address: &UpstreamUrl, known: &ResolvedNames) -> Vec<Endpoint> {
    if let Some(socket) = address.socket() {
        return vec![Endpoint::Socket(PathBuf::from(socket))];
    }
    match host_and_port(address) {
        (Host::Address(ip), port) => vec![Endpoint::Tcp(SocketAddr::new(ip, port))],
        (Host::Name(_), _) => known.addresses.get(address).into_iter().flatten().copied().map(Endpoint::Tcp).collect(),
    }
}

/// Reads the members of a pool set by the API.
type Members<'w> = &'w dyn Fn() -> Option<Arc<MembersRecord>>;

/// Sets the required members of a pool; existing members are retained.
pub(crate) fn update(pool: &Pool, members: Members<'_>, known: &ResolvedNames) {
    // The runner sets the instances, see `follow_run`.
    if pool.run.is_some() {
        return;
    }
    pool.one_at_a_time(|| follow(pool, members, known));
}

fn follow(pool: &Pool, members: Members<'_>, known: &ResolvedNames) {
    let wanted = wanted(&pool.key.declared, pool.key.trusted, members().as_deref());
    let before = pool.members();
    // A new member beside existing members must pass a health check first; the first members have no substitutes.
    let is_well = before.is_empty() || pool.key.declared.health.is_none();
    let mut members: Vec<Arc<Member>> = Vec::with_capacity(wanted.len());
    'pool: for one in &wanted {
        for endpoint in endpoints(&one.address, known) {
            if members.len() >= POOL_MEMBERS_MAX {
                if before.len() < POOL_MEMBERS_MAX {
                    let (app, upstream) = (&pool.key.app, &pool.key.name);
                    tracing::warn!(%app, upstream, members_max = POOL_MEMBERS_MAX, "an upstream has more addresses than it may have members: the others get no requests");
                }
                break 'pool;
            }
            if members.iter().any(|member| member.endpoint == endpoint && member.declared == one.address) {
                continue;
            }
            let old = before.iter().find(|old| old.endpoint == endpoint && old.declared == one.address);
            // A member that lost trust is replaced, without the connections made under trust.
            let member = old.filter(|old| one.trusted || !old.is_trusted()).cloned().unwrap_or_else(|| {
                let server_name = pool.key.declared.server_name.as_deref();
                let member = Member::new(one.address.clone(), endpoint, server_name, is_well, one.trusted);
                Arc::new(member.with_scripts(Backend::declared(&pool.key, &one.address)))
            });
            if one.trusted {
                member.set_trusted();
            }
            member.set_draining(one.is_draining);
            members.push(member);
        }
    }
    let names = || wanted.iter().filter(|one| name_of(&one.address).is_some());
    let is_known =
        |one: &MemberSpec| known.addresses.contains_key(&one.address) || known.failed.contains_key(&one.address);
    let resolved = match names().all(is_known) {
        true => Resolved::DnsAnswer(names().find_map(|one| known.failed.get(&one.address).cloned())),
        false => Resolved::Not,
    };
    pool.set_members(members, resolved);
}

/// Applies the API's members with known addresses; names wait for their resolution.
pub(crate) fn update_members(pool: &Pool, members: Members<'_>) {
    if pool.run.is_some() {
        return;
    }
    pool.one_at_a_time(|| {
        let mut known = ResolvedNames::default();
        for member in pool.members().iter() {
            if let (Endpoint::Tcp(address), Some(_)) = (&member.endpoint, name_of(&member.declared)) {
                known.addresses.entry(member.declared.clone()).or_default().push(*address);
            }
        }
        follow(pool, members, &known);
    });
}

/// Sets the members of a run's pool to the instances of `now`, called under the lock; existing members are retained.
pub(super) fn follow_run(pool: &Pool, now: &dyn Fn() -> Arc<RunNow>) {
    pool.one_at_a_time(|| {
        let (now, before) = (now(), pool.members());
        let mut members: Vec<Arc<Member>> = Vec::with_capacity(now.members.len());
        for one in &now.members {
            let member = before.iter().find(|old| old.endpoint == one.endpoint && old.uid == one.uid);
            let member = member.cloned().or_else(|| {
                let bundle = pool.run.as_ref().and_then(PoolRun::scripts);
                let fastcgi = one.scripts.clone().map(|scripts| Backend::new(&pool.key, Scripts { bundle, ..scripts }));
                let address = address_of(&one.endpoint, fastcgi.is_some()).parse().ok()?;
                let member = Member::new(address, one.endpoint.clone(), None, true, true);
                Some(Arc::new(member.run_by(one.uid).with_scripts(fastcgi)))
            });
            let Some(member) = member else {
                tracing::error!(endpoint = %one.endpoint, "an instance cannot be a member of its pool");
                continue;
            };
            member.set_draining(one.is_draining);
            members.push(member);
        }
        let resolved = if now.state == RunState::Starting { Resolved::Not } else { Resolved::DnsAnswer(None) };
        pool.set_members(members, resolved);
    });
}

/// Formats an instance as the address of a declared backend.
fn address_of(endpoint: &Endpoint, is_fastcgi: bool) -> String {
    match endpoint {
        Endpoint::Socket(path) if is_fastcgi => format!("fastcgi+unix:{}", path.display()),
        Endpoint::Socket(path) => format!("unix:{}", path.display()),
        Endpoint::Tcp(address) if is_fastcgi => format!("fastcgi://{address}"),
        Endpoint::Tcp(address) => format!("http://{address}"),
        // The node connects to the instance as to its own instances.
        Endpoint::Node(NodeInstance { instance, .. }) => address_of(instance, is_fastcgi),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_store::records::upstreams::MemberEntry;

    fn record(members: &[(&str, StoredDesired)]) -> MembersRecord {
        let entry = |desired| MemberEntry { desired, trusted: false, vouched: false, who: "ci".to_owned(), at_ms: 1 };
        MembersRecord { members: members.iter().map(|(to, desired)| (to.parse().unwrap(), entry(*desired))).collect() }
    }

    fn declared(to: &[&str]) -> Upstream {
        Upstream { to: to.iter().map(|to| to.parse().unwrap()).collect(), ..Upstream::default() }
    }

    #[test]
    fn what_the_api_sets_counts_before_what_is_declared() {
        let of = |to: &[&str], members: &[(&str, StoredDesired)]| -> Vec<(String, bool)> {
            let found = wanted(&declared(to), true, Some(&record(members)));
            found.into_iter().map(|one| (one.address.to_string(), one.is_draining)).collect()
        };
        let is = |address: &str, draining| (address.to_owned(), draining);
        assert_eq!(of(&["http://a", "http://b"], &[]), [is("http://a", false), is("http://b", false)]);
        assert_eq!(of(&["http://a", "http://b"], &[("http://a", StoredDesired::Out)]), [is("http://b", false)]);
        assert_eq!(of(&["http://a"], &[("http://a", StoredDesired::Drain)]), [is("http://a", true)]);
        assert_eq!(
            of(&["http://b"], &[("http://a", StoredDesired::In), ("http://c", StoredDesired::Drain)]),
            [is("http://b", false), is("http://a", false), is("http://c", true)]
        );
        assert_eq!(of(&[], &[("http://a", StoredDesired::Out)]), []);
    }

    #[test]
    fn what_is_added_is_as_trusted_as_the_one_who_added_it() {
        let trusted = |by_admin: bool, added_by_admin: bool| -> Vec<bool> {
            let mut record = record(&[("http://a", StoredDesired::Drain), ("http://b", StoredDesired::In)]);
            record.members.get_mut(&"http://b".parse().unwrap()).unwrap().trusted = added_by_admin;
            wanted(&declared(&["http://a"]), by_admin, Some(&record)).iter().map(|one| one.trusted).collect()
        };
        assert_eq!(trusted(true, false), [true, false]);
        assert_eq!(trusted(false, true), [false, true]);
    }
}
