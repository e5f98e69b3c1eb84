//! Private addresses in use by live versions and members without a voucher. An admin of the app was allowed to grant
//! access when the version was stored or the member was added. Such versions stay served, and all problem reports name
//! the line of edge.toml with a permanent permission.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use devanture_config::api::KeptReach;
use devanture_config::{AppName, PlaceName, VersionId};

use super::Upstreams;
use devanture_serve::proxy::address::{Class, Endpoint, Reason, allow_line};
use devanture_serve::proxy::{Member, Pool};
use devanture_serve::version::Version;
use devanture_store::records::Reach;
use devanture_store::records::upstreams::MemberEntry;

/// Remedy for unvouched addresses.
pub const ALLOW_OR_PUSH: &str = "write that line below [upstreams] in edge.toml, beside what stands there; or \
                                        an admin of every app pushes the version, and adds the members and sets the \
                                        webhooks again, with their addresses";

/// Unvouched addresses of an environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeptAddresses {
    app: AppName,
    environment: PlaceName,
    version: VersionId,
    addresses: BTreeSet<IpAddr>,
}

impl KeptAddresses {
    /// Returns a sentence for operators, without the remedy.
    pub(crate) fn sentence(&self) -> String {
        let Self { app, environment, version, .. } = self;
        let KeptReach { addresses, allow, .. } = self.report();
        let (version, addresses) = (version.short(), addresses.join(", "));
        format!(
            "version {version} of {app} in {environment} reaches {addresses}, for which no admin of every app vouches: \
             {allow}"
        )
    }

    /// Returns the addresses in the form of the API.
    pub(crate) fn report(&self) -> KeptReach {
        KeptReach {
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
            allow: allow_line(self.addresses.iter().copied()),
            webhooks: Vec::new(),
        }
    }
}

impl Upstreams {
    /// Returns the unvouched addresses of the live version of an environment; `None` if there are none.
    pub(crate) fn kept_addresses(&self, app: &AppName, environment: &PlaceName) -> Option<KeptAddresses> {
        if self.ledger.live.is_deleted(app) {
            return None;
        }
        let current = self.ledger.live.place(app, environment)?.pointed()?;
        let settings = current.settings.load().revision;
        let (mut addresses, mut version) = (BTreeSet::new(), current.version.id);
        for side in current.sides() {
            let found = self.kept_in(&side.version, settings);
            if !found.is_empty() {
                version = side.version.id;
            }
            addresses.extend(found);
        }
        let (app, environment) = (app.clone(), environment.clone());
        (!addresses.is_empty()).then_some(KeptAddresses { app, environment, version, addresses })
    }

    /// Returns the unvouched addresses of all environments by app and environment; scanned again after a change of the
    /// live versions.
    pub(crate) fn all_kept_addresses(&self) -> Arc<BTreeSet<KeptAddresses>> {
        self.kept_reach.of(&self.ledger.live, || {
            let environments = self.ledger.live.environments();
            environments.iter().filter_map(|(app, environment)| self.kept_addresses(app, environment)).collect()
        })
    }

    fn kept_in(&self, version: &Version, settings: u64) -> BTreeSet<IpAddr> {
        let registry = self.members.registry();
        // Fast path: most versions have no unvouched addresses.
        if version.reach != Reach::Kept && !registry.has_members(&version.app, &version.place) {
            return BTreeSet::new();
        }
        let pools = (0..version.upstreams.len()).filter_map(|number| registry.pool_of(version, number, settings));
        pools.filter(|pool| pool.key.run.is_none()).flat_map(|pool| self.kept_of(version, &pool)).collect()
    }

    fn kept_of(&self, version: &Version, pool: &Pool) -> Vec<IpAddr> {
        let record = self.members.registry().members_of(pool);
        let is_kept = |member: &Member| {
            let entry = record.as_ref().and_then(|record| record.members.get(&member.declared));
            let added = entry.map(MemberEntry::reach).unwrap_or_default();
            let declared = match pool.key.declared.to.contains(&member.declared) {
                true => version.reach,
                false => Reach::Public,
            };
            // A declaration or addition by an admin of every app vouches for the address.
            declared != Reach::Private && added != Reach::Private && (declared.is_private() || added.is_private())
        };
        let members = pool.members();
        let refused = members.iter().filter(|member| is_kept(member)).filter_map(|member| match &member.endpoint {
            Endpoint::Tcp(address) => self.members.policy().permits(*address).err().map(|refusal| (address, refusal)),
            Endpoint::Node(_) | Endpoint::Socket(_) => None,
        });
        let own = [Class::Loopback, Class::Machine, Class::Private].map(Reason::NotAllowed);
        let reached = refused.filter(|(_, refusal)| own.contains(&refusal.reason));
        reached.map(|(address, _)| address.ip().to_canonical()).collect()
    }
}
