//! Pools of backends of an environment: the state of their members, and membership changes by the API.
//!
//! Changes by the API are stored in a record per pool, written by compare-and-swap, beside the members declared by the
//! live version. A change is answered once requests follow the change.

mod kept_reach;

use std::sync::Arc;

use devanture_config::api::{Backend, DesiredState, MemberReport, UpstreamReport, UpstreamsReport};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{SERVER_UPSTREAM, UpstreamName, UpstreamUrl};
use devanture_config::text::counted;
use devanture_config::{AppName, PlaceName};
use tokio::sync::Mutex;

use crate::ledger::{Action, Actor, Attempts, AuditEvent, Error, Ledger, PART_CHANGES_MAX, nothing_live};
use crate::places::{FoundInLive, REMEMBERED_MAX};
use devanture_base::clock;
use devanture_serve::proxy::address::{Policy, Reason, Refusals, UpstreamCheck};
use devanture_serve::proxy::{Member, Pool, PoolKey, Registry};
use devanture_serve::version::Version;
use devanture_store::catalog::{Change, Check, Commit, Record, Revision};
use devanture_store::records::upstreams::{MemberEntry, MembersRecord, members_key, members_prefix};
use devanture_store::records::{self, Reach};

pub use kept_reach::ALLOW_OR_PUSH;
pub(crate) use kept_reach::KeptAddresses;

/// Identification of a pool member.
#[derive(Debug, Clone, Copy)]
pub struct MemberAt<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The environment.
    pub environment: &'a PlaceName,
    /// The name of the pool.
    pub name: &'a str,
    /// Address of the member.
    pub address: &'a UpstreamUrl,
}

/// Pools of upstreams, and changes to their members.
pub(crate) struct Members {
    registry: Registry,
    /// Addresses allowed for upstreams.
    policy: Policy,
    /// Serializes changes: with many concurrent scripts, no change has to retry for long.
    changing: Mutex<()>,
}

impl Members {
    pub(crate) fn new(registry: Registry, policy: Policy) -> Self {
        Self { registry, policy, changing: Mutex::default() }
    }

    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the addresses allowed for upstreams of untrusted actors.
    pub(crate) const fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// Checks that a pool of HTTP or FastCGI only gets members of the same protocol.
fn speaks_its_protocol(pool: &Pool, address: &UpstreamUrl, desired: DesiredState) -> Result<(), Error> {
    if desired == DesiredState::Out || address.is_fastcgi() == pool.is_fastcgi() {
        return Ok(());
    }
    let (protocol, wanted) =
        if pool.is_fastcgi() { ("FastCGI", "fastcgi://HOST:PORT") } else { ("HTTP", "http://HOST:PORT") };
    let detail = format!("The members of {} speak {protocol}, and {address} does not.", pool.key.name);
    Err(Problem::new(Code::BadRequest, detail).hint(format!("an address such as {wanted} is wanted")).into())
}

/// Next entry of a member.
#[derive(Debug, PartialEq, Eq)]
enum NextEntry {
    /// No entry: the declaration of the version applies.
    Nothing,
    /// Desired state, and allowed addresses.
    Desired(DesiredState, Reach),
}

/// Pools of the environments, and members added by the API.
pub struct Upstreams {
    pub(crate) ledger: Arc<Ledger>,
    members: Members,
    check: UpstreamCheck,
    /// Live versions with unvouched private addresses, as of the latest scan.
    kept_reach: FoundInLive<KeptAddresses>,
}

impl Upstreams {
    pub(crate) fn new(ledger: Arc<Ledger>, registry: Registry, policy: Policy, check: UpstreamCheck) -> Self {
        let members = Members::new(registry, policy);
        Self { ledger, members, check, kept_reach: FoundInLive::default() }
    }

    /// Returns the address check of published upstreams.
    pub(crate) const fn check(&self) -> &UpstreamCheck {
        &self.check
    }

    /// Returns the pools of upstreams.
    pub(crate) fn registry(&self) -> &Registry {
        self.members.registry()
    }
}

impl Upstreams {
    /// Returns the pools of the live version of an environment in order of name, as seen by this node.
    ///
    /// # Errors
    /// `nothing_live`, `not_found`.
    pub async fn upstreams(&self, app: &AppName, environment: &PlaceName) -> Result<UpstreamsReport, Error> {
        self.ledger.must_exist(app).await?;
        let current = self.ledger.current(app, environment)?;
        let (version, settings) = (&current.version, current.settings.load().revision);
        let numbers = 0..version.upstreams.len();
        let pools = numbers.filter_map(|number| self.members.registry.pool_of(version, number, settings));
        let mut upstreams: Vec<UpstreamReport> =
            pools.map(|pool| self.pool_report(&pool, self.members.registry.members_of(&pool).as_deref())).collect();
        upstreams.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(UpstreamsReport { upstreams })
    }

    /// Puts a member into service or drains a member; with `dry_run`, only reports the effect. On return, requests to
    /// this node follow the change.
    ///
    /// # Errors
    /// `upstream_unknown`, `upstream_forbidden` if the actor may not add the address, `not_found` for draining an
    /// address outside the pool, `too_many`, `nothing_live`.
    pub async fn set_member(
        &self,
        actor: &Actor,
        at: MemberAt<'_>,
        desired: DesiredState,
        dry_run: bool,
    ) -> Result<UpstreamReport, Error> {
        if desired == DesiredState::Out {
            let detail = "A member is taken out by DELETE.";
            return Err(Problem::new(Code::BadRequest, detail).hint("`desired` is `in` or `drain`").into());
        }
        self.change_member(actor, at, desired, dry_run).await
    }

    /// Removes a member: the entry of an added member is deleted, and a declared member is marked as removed. Requests
    /// in flight continue.
    ///
    /// # Errors
    /// `upstream_unknown`, `too_many`, `nothing_live`.
    pub async fn remove_member(&self, actor: &Actor, at: MemberAt<'_>, dry_run: bool) -> Result<UpstreamReport, Error> {
        self.change_member(actor, at, DesiredState::Out, dry_run).await
    }

    async fn change_member(
        &self,
        actor: &Actor,
        at: MemberAt<'_>,
        desired: DesiredState,
        dry_run: bool,
    ) -> Result<UpstreamReport, Error> {
        self.ledger.must_exist(at.app).await?;
        let mut allowed_as = None;
        let mut attempts = Attempts::default();
        loop {
            attempts.begin(at.name)?;
            let (live, version) = self.live_version(at.app, at.environment).await?;
            let (name, pool) = self.named_pool(&version, at.name)?;
            speaks_its_protocol(&pool, at.address, desired)?;
            let is_declared = pool.key.declared.to.contains(at.address);
            let one = self.members.changing.lock().await;
            let key = members_key(at.app, at.environment, &name);
            let found = self.ledger.catalog.get(&key).await?;
            let before: MembersRecord =
                found.as_ref().map(|found| records::read(&key, found)).transpose()?.unwrap_or_default();
            let entry = before.members.get(at.address);
            let next = next_entry(entry, is_declared, desired, actor.is_admin_of_all())
                .ok_or_else(|| no_member(at.name, at.address))?;
            if next == NextEntry::of(entry) {
                drop(one);
                if let Some(found) = found.filter(|_| !dry_run) {
                    self.members.registry.wait_for(found.revision).await;
                }
                return Ok(self.pool_report(&pool, Some(&before)));
            }
            if let NextEntry::Desired(DesiredState::In, reach) = next
                && allowed_as != Some(reach)
            {
                // The DNS lookup runs without the lock: no concurrent change waits for the lookup.
                drop(one);
                let one = [(at.address, reach.is_private())];
                let checked = self.check.check(at.app, &self.members.policy, &one).await;
                checked.map_err(|refusals| refused(&refusals))?;
                allowed_as = Some(reach);
                continue;
            }
            let after = self.with(&before, at, &version, (&next, actor))?;
            if dry_run {
                return Ok(self.pool_report(&pool, Some(&after)));
            }
            let checks = vec![
                Check::of(key.clone(), found.map(|found| found.revision)),
                // The pool is declared by the live version.
                Check::At(records::live_key(at.app, at.environment), live),
            ];
            let mut changes = match before.members.is_empty() {
                true => self.forgotten_members(at.app, at.environment, &version).await?,
                false => Vec::new(),
            };
            changes.push(match after.members.is_empty() {
                true => Change::Delete(key),
                false => Change::Put(key.clone(), records::write(&after)?),
            });
            let event =
                AuditEvent::of(action(desired)).place(at.app, at.environment).what(format!("{name} {}", at.address));
            let commit = Commit { checks, changes };
            let committed = self.ledger.commit_unseen(actor, event, commit).await?;
            drop(one);
            if let Some(revision) = committed {
                self.members.registry.wait_for(revision).await;
                tracing::info!(app = %at.app, environment = %at.environment, upstream = %name, member = %at.address, who = actor.name, ?desired, "members of an upstream");
                return Ok(self.pool_report(&pool, self.members.registry.members_of(&pool).as_deref()));
            }
        }
    }

    /// Returns deletions of remembered upstreams that the live version does not declare, once many are remembered:
    /// versions can declare new names again and again. Deletions beyond the size of a commit are left to later changes.
    async fn forgotten_members(
        &self,
        app: &AppName,
        environment: &PlaceName,
        version: &Version,
    ) -> Result<Vec<Change>, Error> {
        let prefix = members_prefix(app, environment);
        let found = self.ledger.catalog.list(&prefix, None, false, usize::MAX).await?;
        // Maximum number of members that a single version can declare.
        let members_max = self.ledger.limits().upstream_members_per_version_max;
        let is_named = |key: &str| {
            let name = key.strip_prefix(&prefix).unwrap_or_default();
            version.upstreams.iter().any(|upstream| upstream.name == name)
        };
        Ok(forgotten(found, members_max, is_named))
    }

    /// Returns the record with a member changed.
    fn with(
        &self,
        before: &MembersRecord,
        at: MemberAt<'_>,
        version: &Version,
        (next, actor): (&NextEntry, &Actor),
    ) -> Result<MembersRecord, Error> {
        let mut after = before.clone();
        match *next {
            NextEntry::Nothing => drop(after.members.remove(at.address)),
            NextEntry::Desired(desired, reach) => {
                let (trusted, vouched) = (reach.is_private(), reach == Reach::Private);
                let (who, at_ms) = (actor.name.clone(), clock::now_ms());
                let entry = MemberEntry { desired: desired.into(), trusted, vouched, who, at_ms };
                after.members.insert(at.address.clone(), entry);
            }
        }
        let limits = self.ledger.limits();
        let (count, max) = (after.members.len(), limits.upstream_members_max);
        if count > before.members.len() && u64::try_from(count).unwrap_or(u64::MAX) > max {
            let detail = format!("The API would say something about {}; {max} are allowed.", counted(count, "member"));
            let hint = "`upstream_members_max` in edge.toml is the limit";
            return Err(Problem::new(Code::TooMany, detail).hint(hint).into());
        }
        let count_with = |record| self.members.registry.members_count(version, at.name, record);
        let (count, max) = (count_with(&after), limits.upstream_members_per_version_max);
        if u64::try_from(count).unwrap_or(u64::MAX) > max && count > count_with(before) {
            let detail = format!("All upstreams of {} would have {count} members; {max} are allowed.", at.environment);
            let hint = "remove one first; `upstream_members_per_version_max` in edge.toml is the limit";
            return Err(Problem::new(Code::TooMany, detail).hint(hint).into());
        }
        Ok(after)
    }

    /// Returns the live version of an environment, and the revision of the live pointer.
    async fn live_version(&self, app: &AppName, environment: &PlaceName) -> Result<(Revision, Arc<Version>), Error> {
        let (revision, _) =
            self.ledger.live_pointer(app, environment).await?.ok_or_else(|| nothing_live(app, environment))?;
        self.ledger.live.wait_for(revision).await;
        Ok((revision, self.ledger.served(app, environment)?))
    }

    /// Returns the named pool if the API can change the members.
    fn named_pool(&self, version: &Version, name: &str) -> Result<(UpstreamName, Arc<Pool>), Error> {
        let number = version.upstreams.iter().position(|upstream| upstream.name == name);
        if version.managed.is_some() && name == SERVER_UPSTREAM {
            let detail = "Its members are the instances of the backend that came with the version.";
            let hint = "`devanture scale` says how many there are";
            return Err(Problem::new(Code::UpstreamUnknown, detail).hint(hint).into());
        }
        // Only pools of managed backends depend on the settings.
        let Some(key) = number.and_then(|number| PoolKey::of(version, number, 0)) else {
            let detail = format!("What is live in {} names no upstream `{name}`.", version.place);
            let hint = "`devanture upstreams` lists them; devanture.toml names them below [upstreams]";
            return Err(Problem::new(Code::UpstreamUnknown, detail).hint(hint).into());
        };
        match name.parse() {
            Ok(parsed) => Ok((parsed, self.members.registry.pool(&key))),
            Err(_address) => {
                let detail = format!("{name} is the address of a route, and an upstream without a name.");
                let hint =
                    format!("give it one: NAME = \"{name}\" below [upstreams], and `to = \"NAME\"` in the route");
                Err(Problem::new(Code::UpstreamUnknown, detail).hint(hint).into())
            }
        }
    }

    fn pool_report(&self, pool: &Pool, record: Option<&MembersRecord>) -> UpstreamReport {
        let declared = &pool.key.declared.to;
        let members = pool.members();
        // Requests to an earlier version with another declaration of the pool may still be in flight.
        let mut others = self.members.registry.of_place(&pool.key.app, &pool.key.place);
        others.retain(|other| other.key.name == pool.key.name && other.key != pool.key);
        let elsewhere = |member: &Member| -> usize {
            let of = |other: &Arc<Pool>| -> usize {
                let same = |one: &&Arc<Member>| one.endpoint == member.endpoint && one.declared == member.declared;
                other.members().iter().filter(same).map(|one| one.in_flight()).sum()
            };
            others.iter().map(of).sum()
        };
        let backend = |member: &Arc<Member>| Backend {
            address: member.endpoint.to_string(),
            requests: u64::try_from(member.in_flight().saturating_add(elsewhere(member))).unwrap_or(u64::MAX),
            state: member.state().word().to_owned(),
        };
        let of = |address: &UpstreamUrl| {
            let entry = record.and_then(|record| record.members.get(address));
            MemberReport {
                address: address.clone(),
                backends: members.iter().filter(|member| member.declared == *address).map(backend).collect(),
                declared: declared.contains(address),
                desired: entry.map(|entry| entry.desired.into()),
                who: entry.map(|entry| entry.who.clone()),
            }
        };
        // An address declared by an earlier version and removed by the API is no member of this version.
        let is_added = |(address, entry): &(&UpstreamUrl, &MemberEntry)| {
            !declared.contains(address) && entry.desired != DesiredState::Out
        };
        let added = record.iter().flat_map(|record| &record.members).filter(is_added).map(|(address, _)| address);
        // Members of a managed pool are the instances.
        let run = members.iter().filter(|_| pool.key.run.is_some()).map(|member| &member.declared);
        UpstreamReport {
            members: declared.iter().chain(added).chain(run).map(of).collect(),
            name: pool.key.name.clone(),
            protocol: pool.key.declared.protocol.unwrap_or_default(),
            waiting: u64::try_from(pool.waiting()).unwrap_or(u64::MAX),
        }
    }
}

impl NextEntry {
    fn of(entry: Option<&MemberEntry>) -> Self {
        entry.map_or(Self::Nothing, |entry| Self::Desired(entry.desired.into(), entry.reach()))
    }
}

/// Returns deletions for upstreams that are not named, up to the size of a commit. Empty below `REMEMBERED_MAX`
/// upstreams and below `members_max` members.
fn forgotten(found: Vec<(String, Record)>, members_max: u64, is_named: impl Fn(&str) -> bool) -> Vec<Change> {
    let members = found.iter().map(|(key, record)| {
        let read = records::read::<MembersRecord>(key, record);
        read.map_or(0, |record| u64::try_from(record.members.len()).unwrap_or(u64::MAX))
    });
    if found.len() < REMEMBERED_MAX && members.fold(0, u64::saturating_add) < members_max {
        return Vec::new();
    }
    let unnamed = found.into_iter().map(|(key, _)| key).filter(|key| !is_named(key));
    unnamed.take(PART_CHANGES_MAX).map(Change::Delete).collect()
}

/// Returns the next entry of a member after a state change; `None` for an address outside the pool. A token with the
/// right to push may drain a member added by an admin of every app, and put the member back into service.
fn next_entry(
    entry: Option<&MemberEntry>,
    is_declared: bool,
    desired: DesiredState,
    is_vouched: bool,
) -> Option<NextEntry> {
    let reach = entry.map(MemberEntry::reach).unwrap_or_default();
    let is_out = entry.is_some_and(|entry| entry.desired == DesiredState::Out);
    match desired {
        DesiredState::In if is_declared => Some(NextEntry::Nothing),
        DesiredState::In if is_vouched => Some(NextEntry::Desired(DesiredState::In, Reach::Private)),
        DesiredState::In => Some(NextEntry::Desired(DesiredState::In, reach)),
        DesiredState::Drain if is_declared || entry.is_some() && !is_out => {
            Some(NextEntry::Desired(DesiredState::Drain, reach))
        }
        DesiredState::Drain => None,
        // Also for an address declared by an earlier version: a rollback may restore the declaration.
        DesiredState::Out if is_declared || is_out => Some(NextEntry::Desired(DesiredState::Out, Reach::Public)),
        DesiredState::Out => Some(NextEntry::Nothing),
    }
}

const fn action(desired: DesiredState) -> Action {
    match desired {
        DesiredState::In => Action::AddMember,
        DesiredState::Drain => Action::DrainMember,
        DesiredState::Out => Action::RemoveMember,
    }
}

fn no_member(name: &str, address: &UpstreamUrl) -> Problem {
    Problem::new(Code::NotFound, format!("{address} is no member of the upstream `{name}`."))
        .hint("`devanture upstreams` lists the members")
}

/// Returns the refusal of an address added by the API.
fn refused(refusals: &Refusals) -> Problem {
    let hint = match refusals.reason() {
        Some(Reason::SocketNotAllowed) => "add its folder to [upstreams] sockets in edge.toml".to_owned(),
        Some(Reason::NotAllowed(_)) => format!(
            "write {} below [upstreams] in edge.toml, or have an admin of every app add the member",
            refusals.allow_line()
        ),
        Some(Reason::Internal | Reason::Never(_) | Reason::Node | Reason::Own) | None => {
            "no setting allows this".to_owned()
        }
    };
    Problem::new(Code::UpstreamForbidden, refusals.to_string()).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_store::catalog::COMMIT_CHANGES_MAX;

    #[test]
    fn what_is_remembered_of_many_upstreams_is_forgotten_as_much_at_once_as_a_commit_takes() {
        let remembered = |count: usize| {
            let value: Arc<[u8]> = records::write(&MembersRecord::default()).unwrap();
            let record = Record { value, revision: 1 };
            (0..count).map(|number| (format!("{number:03}"), record.clone())).collect::<Vec<_>>()
        };
        let is_named = |key: &str| key == "001";
        assert_eq!(forgotten(remembered(REMEMBERED_MAX - 1), 1_000, is_named), []);
        let changes = forgotten(remembered(REMEMBERED_MAX), 1_000, is_named);
        assert!(changes.len() < COMMIT_CHANGES_MAX && changes.starts_with(&[Change::Delete("000".to_owned())]));
        assert!(!changes.contains(&Change::Delete("001".to_owned())));
    }

    #[test]
    fn the_entry_of_a_member_depends_on_what_was_set_and_declared() {
        use DesiredState::{Drain, In, Out};
        let entry = |desired: DesiredState, vouched| {
            let who = "ci".to_owned();
            MemberEntry { desired: desired.into(), trusted: vouched, vouched, who, at_ms: 1 }
        };
        let next = |before: Option<(DesiredState, bool)>, is_declared, desired, is_vouched| {
            let before = before.map(|(desired, vouched)| entry(desired, vouched));
            next_entry(before.as_ref(), is_declared, desired, is_vouched)
        };
        let desired = |desired, vouched| Some(NextEntry::Desired(desired, Reach::of(vouched)));
        // A declared address is a member by default and trusted like the version.
        assert_eq!(next(None, true, In, true), Some(NextEntry::Nothing));
        assert_eq!(next(Some((Out, false)), true, In, true), Some(NextEntry::Nothing));
        assert_eq!(next(None, true, Drain, true), desired(Drain, false));
        assert_eq!(next(Some((Drain, false)), true, Out, true), desired(Out, false));
        // An undeclared address is a member only by the entry; removal deletes the entry.
        assert_eq!(
            (next(None, false, In, false), next(None, false, In, true)),
            (desired(In, false), desired(In, true))
        );
        assert_eq!(next(Some((In, true)), false, Drain, false), desired(Drain, true));
        assert_eq!(next(Some((Drain, true)), false, In, false), desired(In, true));
        assert_eq!(next(Some((In, false)), false, In, true), desired(In, true));
        assert_eq!(next(Some((Drain, true)), false, Out, false), Some(NextEntry::Nothing));
        assert_eq!((next(None, false, Out, false), next(None, false, Drain, true)), (Some(NextEntry::Nothing), None));
        // An entry by an admin of the app stays unvouched until an admin of every app sets the member.
        let kept = MemberEntry { vouched: false, ..entry(In, true) };
        let drained = MemberEntry { desired: Drain.into(), ..kept.clone() };
        assert_eq!(next_entry(Some(&drained), false, In, false), Some(NextEntry::of(Some(&kept))));
        assert_eq!(next_entry(Some(&kept), false, In, true), desired(In, true));
        // An address declared by an earlier version stays out, in case of a rollback.
        assert_eq!(
            (next(Some((Out, false)), false, Out, true), next(Some((Out, false)), false, Drain, true)),
            (desired(Out, false), None)
        );
    }
}
