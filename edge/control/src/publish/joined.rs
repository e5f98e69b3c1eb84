//! A half of a bundle joined with the other half, and the rights of both.

use std::collections::BTreeSet;
use std::sync::Arc;

use devanture_config::api::Scope;
use devanture_config::manifest::halves::Half;
use devanture_config::{Manifest, PlaceName, VersionId};

use super::pushes::Push;
use crate::ledger::Actor;

/// Most joins of a push: each repetition follows a push of the other half that went live meanwhile.
pub(super) const JOINS_MAX: u32 = 10;

/// Join of a push's manifest.
pub(crate) struct Joined {
    /// Pushed half.
    pub(crate) half: Half,
    /// Manifest of the pushed half alone.
    pub(crate) own: Arc<Manifest>,
    /// Version with the other half; `None` without another half.
    pub(crate) with: Option<VersionId>,
    /// True if `with` follows the live version, or the version of the alias, until the switch; false if named by the
    /// push.
    pub(crate) follows: bool,
    /// Facts about the other half from its version's record.
    pub(super) origin: Option<Origin>,
}

/// Facts from the record of the version with the other half.
#[derive(Default)]
pub(crate) struct Origin {
    pub(super) rights: Rights,
    /// Storage time of the pages, if some paths of the version were withdrawn since.
    pub(super) stored_ms: Option<u64>,
}

/// Rights recorded for a version by its storing push, with the fields of [`VersionRecord`].
///
/// [`VersionRecord`]: devanture_store::records::VersionRecord
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) trusted: bool,
    pub(super) trusted_in: BTreeSet<PlaceName>,
    pub(super) edge_admin: bool,
    /// True if an admin of every app vouches for the addresses.
    pub(super) vouched: bool,
}

impl Joined {
    /// Returns the detail of the step.
    pub(super) fn text(&self) -> String {
        let other = self.half.other();
        match self.with {
            Some(version) => format!("{} of this push, {other} of {}", self.half, version.short()),
            None => format!("{} of this push; there is no {other} to join it with", self.half),
        }
    }
}

impl Rights {
    /// Rights of a push of a whole bundle.
    fn of(actor: &Actor) -> Self {
        let is_admin = actor.scope == Scope::Admin;
        Self {
            // An admin of one environment vouches only for content served there.
            trusted: is_admin && actor.environment.is_none(),
            trusted_in: actor.environment.iter().filter(|_| is_admin).cloned().collect(),
            edge_admin: actor.is_admin_of_all(),
            vouched: actor.is_admin_of_all(),
        }
    }

    /// Returns true if the rights vouch for content served in an environment.
    fn trusts(&self, place: &PlaceName) -> bool {
        self.trusted || self.trusted_in.contains(place)
    }

    /// Returns the trust common to both.
    fn both_trust(&self, other: &Self) -> (bool, BTreeSet<PlaceName>) {
        let places = self.trusted_in.iter().chain(&other.trusted_in);
        let both = places.filter(|place| self.trusts(place) && other.trusts(place)).cloned().collect();
        (self.trusted && other.trusted, both)
    }

    /// Joins the rights of a pushed half with those of the other half; `manifest` is the joined manifest.
    fn joined_with(self, half: Half, other: &Self, manifest: &Manifest) -> Self {
        let owns_tables = manifest.base.server.as_ref().is_some_and(|server| server.owns.is_some());
        let ((trusted, trusted_in), vouched) = match half {
            // Addresses and hostnames come from both halves.
            _ if owns_tables => (self.both_trust(other), self.vouched && other.vouched),
            Half::Backend => ((other.trusted, other.trusted_in.clone()), other.vouched),
            Half::Front => ((self.trusted, self.trusted_in), self.vouched),
        };
        let edge_admin = match half {
            Half::Front if manifest.has_backend() => other.edge_admin,
            Half::Front | Half::Backend => self.edge_admin,
        };
        Self { trusted, trusted_in, edge_admin, vouched }
    }
}

impl Push {
    /// Rights for the version's record.
    ///
    /// An admin vouches only for the pushed half: the front's addresses rely on the push of the front, the backend's
    /// user on the push of the backend.
    pub(super) fn rights(&self) -> Rights {
        let own = Rights::of(&self.actor);
        let Some((half, origin)) = self.joined.as_ref().and_then(|joined| Some((joined.half, joined.origin.as_ref()?)))
        else {
            return own;
        };
        own.joined_with(half, &origin.rights, &self.manifest)
    }

    /// Returns the storage time of the other half's pages, if not the present.
    pub(super) fn stored_ms(&self) -> Option<u64> {
        self.joined.as_ref()?.origin.as_ref()?.stored_ms
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;
    use devanture_config::manifest::{FileEntry, ServerFolder};
    use devanture_config::site_toml::{OwnedTable, ServerTable};

    use super::*;
    use crate::ledger::Credential;

    fn manifest(has_backend: bool, owns_tables: bool) -> Manifest {
        let file = FileEntry { hash: Digest::of(b""), size: 0, media_type: None };
        let mut manifest = Manifest::of_files([("a".parse().unwrap(), file)].into());
        if has_backend {
            let owns = owns_tables.then(|| vec![OwnedTable::Routes]);
            manifest.base.server = Some(ServerTable { owns, ..ServerTable::default() });
            manifest.server = Some(ServerFolder::default());
        }
        manifest
    }

    fn of(scope: Scope, app: Option<&str>, environment: Option<&str>) -> Rights {
        Rights::of(&Actor {
            app: app.map(|app| app.parse().unwrap()),
            environment: environment.map(|environment| environment.parse().unwrap()),
            scope,
            credential: Credential::Token("one".to_owned()),
            ..Actor::local()
        })
    }

    /// Builds rights: trusted everywhere, trusted in single environments, and held by an admin of every app, who also
    /// vouches for the addresses.
    fn rights(trusted: bool, trusted_in: &[&str], edge_admin: bool) -> Rights {
        let trusted_in = trusted_in.iter().map(|place| place.parse().unwrap()).collect();
        Rights { trusted, trusted_in, edge_admin, vouched: edge_admin }
    }

    #[test]
    fn an_admin_is_trusted_where_the_admin_is_one() {
        for (scope, app, environment, expected) in [
            (Scope::Push, None, None, rights(false, &[], false)),
            (Scope::Push, Some("shop"), Some("prod"), rights(false, &[], false)),
            (Scope::Admin, Some("shop"), Some("prod"), rights(false, &["prod"], false)),
            (Scope::Admin, Some("shop"), None, rights(true, &[], false)),
            (Scope::Admin, None, None, rights(true, &[], true)),
        ] {
            assert_eq!(of(scope, app, environment), expected, "{scope:?} {app:?} {environment:?}");
        }
    }

    /// Law 11.
    #[test]
    fn nobody_vouches_for_the_half_of_somebody_else() {
        let (nobody, admin) = (rights(false, &[], false), rights(true, &[], true));
        let (staging, prod) = (rights(false, &["staging"], false), rights(false, &["prod"], false));
        let (plain, with_backend, owning) = (manifest(false, false), manifest(true, false), manifest(true, true));
        for (half, own, other, manifest, expected) in [
            // The front names addresses.
            (Half::Front, &admin, &nobody, &with_backend, rights(true, &[], false)),
            (Half::Front, &nobody, &admin, &with_backend, rights(false, &[], true)),
            (Half::Front, &staging, &prod, &with_backend, rights(false, &["staging"], false)),
            (Half::Backend, &admin, &nobody, &with_backend, rights(false, &[], true)),
            (Half::Backend, &nobody, &admin, &with_backend, rights(true, &[], false)),
            (Half::Backend, &staging, &prod, &with_backend, rights(false, &["prod"], false)),
            // Without a backend, the other half needs no trust.
            (Half::Front, &admin, &nobody, &plain, rights(true, &[], true)),
            (Half::Front, &nobody, &admin, &plain, rights(false, &[], false)),
            // Both halves name addresses.
            (Half::Front, &admin, &nobody, &owning, rights(false, &[], false)),
            (Half::Front, &nobody, &admin, &owning, rights(false, &[], true)),
            (Half::Backend, &admin, &nobody, &owning, rights(false, &[], true)),
            (Half::Backend, &nobody, &admin, &owning, rights(false, &[], false)),
            (Half::Front, &admin, &admin, &owning, rights(true, &[], true)),
            (Half::Backend, &staging, &prod, &owning, rights(false, &[], false)),
            (Half::Backend, &staging, &staging, &owning, rights(false, &["staging"], false)),
            (Half::Front, &staging, &admin, &owning, rights(false, &["staging"], true)),
            (Half::Backend, &admin, &staging, &owning, rights(false, &["staging"], true)),
        ] {
            let joined = own.clone().joined_with(half, other, manifest);
            // `vouched` has a separate test.
            let expected = Rights { vouched: joined.vouched, ..expected };
            assert_eq!(joined, expected, "{half:?} of {own:?} with that of {other:?}");
        }
    }

    /// Law 11.
    #[test]
    fn law_11_private_addresses_take_an_admin_of_every_app_who_pushed_the_half_that_names_them() {
        let (owner, edge_admin) = (rights(true, &[], false), rights(true, &[], true));
        let (plain, with_backend, owning) = (manifest(false, false), manifest(true, false), manifest(true, true));
        for (half, own, other, manifest, expected) in [
            (Half::Front, &owner, &edge_admin, &with_backend, false),
            (Half::Front, &edge_admin, &owner, &with_backend, true),
            (Half::Front, &edge_admin, &owner, &plain, true),
            (Half::Backend, &owner, &edge_admin, &with_backend, true),
            (Half::Backend, &edge_admin, &owner, &with_backend, false),
            (Half::Front, &edge_admin, &owner, &owning, false),
            (Half::Backend, &owner, &edge_admin, &owning, false),
            (Half::Backend, &edge_admin, &edge_admin, &owning, true),
        ] {
            let joined = own.clone().joined_with(half, other, manifest);
            assert_eq!(joined.vouched, expected, "{half:?} of {own:?} with that of {other:?}");
        }
    }
}
