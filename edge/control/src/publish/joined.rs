//! One half of a bundle as it was joined with the other, and the rights of both.

use std::collections::BTreeSet;
use std::sync::Arc;

use devanture_config::api::Scope;
use devanture_config::manifest::halves::Half;
use devanture_config::{Manifest, PlaceName, VersionId};

use super::pushes::Push;
use crate::ledger::Actor;

/// Most joins of one push: each further one means that a push of the other half went live while this one was prepared.
pub(super) const JOINS_MAX: u32 = 10;

/// How the manifest of a push was joined.
pub(crate) struct Joined {
    /// The half that the push brings.
    pub(crate) half: Half,
    /// That half alone.
    pub(crate) own: Arc<Manifest>,
    /// The version that gives the other half; `None` where there is none.
    pub(crate) with: Option<VersionId>,
    /// Whether that is the live version, or the alias', whichever it is at the switch; else the push names it.
    pub(crate) follows: bool,
    /// What its record says of the other half.
    pub(super) origin: Option<Origin>,
}

/// The record of the version that gives the other half.
#[derive(Default)]
pub(crate) struct Origin {
    pub(super) rights: Rights,
    /// When its pages count as stored, where some of its paths were withdrawn since.
    pub(super) stored_ms: Option<u64>,
}

/// The rights that the record of a version has from the push that stored it; its fields are those of [`VersionRecord`].
///
/// [`VersionRecord`]: devanture_store::records::VersionRecord
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) trusted: bool,
    pub(super) trusted_in: BTreeSet<PlaceName>,
    pub(super) edge_admin: bool,
    /// Whether an admin of every app vouches for the addresses.
    pub(super) vouched: bool,
}

impl Joined {
    /// The detail of its step.
    pub(super) fn text(&self) -> String {
        let other = self.half.other();
        match self.with {
            Some(version) => format!("{} of this push, {other} of {}", self.half, version.short()),
            None => format!("{} of this push; there is no {other} to join it with", self.half),
        }
    }
}

impl Rights {
    /// The rights of a push of a whole bundle.
    fn of(actor: &Actor) -> Self {
        let is_admin = actor.scope == Scope::Admin;
        Self {
            // An admin of one environment vouches for what is served in that one.
            trusted: is_admin && actor.environment.is_none(),
            trusted_in: actor.environment.iter().filter(|_| is_admin).cloned().collect(),
            edge_admin: actor.is_admin_of_all(),
            vouched: actor.is_admin_of_all(),
        }
    }

    /// Whether they vouch for what is served in an environment.
    fn trusts(&self, place: &PlaceName) -> bool {
        self.trusted || self.trusted_in.contains(place)
    }

    /// The trust that both have.
    fn both_trust(&self, other: &Self) -> (bool, BTreeSet<PlaceName>) {
        let places = self.trusted_in.iter().chain(&other.trusted_in);
        let both = places.filter(|place| self.trusts(place) && other.trusts(place)).cloned().collect();
        (self.trusted && other.trusted, both)
    }

    /// The rights of who pushed one half, joined with those that the other half has; `manifest` is that of both.
    fn joined_with(self, half: Half, other: &Self, manifest: &Manifest) -> Self {
        let owns_tables = manifest.base.server.as_ref().is_some_and(|server| server.owns.is_some());
        let ((trusted, trusted_in), vouched) = match half {
            // The addresses and hostnames come from both halves.
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
    /// The rights that the record of the version gets.
    ///
    /// An admin vouches for the half that the admin pushes, and not for the other: the addresses that the front names
    /// rely on the push of the front, and the user of the backend on that of the backend.
    pub(super) fn rights(&self) -> Rights {
        let own = Rights::of(&self.actor);
        let Some((half, origin)) = self.joined.as_ref().and_then(|joined| Some((joined.half, joined.origin.as_ref()?)))
        else {
            return own;
        };
        own.joined_with(half, &origin.rights, &self.manifest)
    }

    /// When the pages of the other half count as stored, where that is not now.
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

    /// Whether they are trusted everywhere, where else, and whether an admin of every app has them, who vouches for the
    /// addresses too.
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
            // The front names the addresses.
            (Half::Front, &admin, &nobody, &with_backend, rights(true, &[], false)),
            (Half::Front, &nobody, &admin, &with_backend, rights(false, &[], true)),
            (Half::Front, &staging, &prod, &with_backend, rights(false, &["staging"], false)),
            (Half::Backend, &admin, &nobody, &with_backend, rights(false, &[], true)),
            (Half::Backend, &nobody, &admin, &with_backend, rights(true, &[], false)),
            (Half::Backend, &staging, &prod, &with_backend, rights(false, &["prod"], false)),
            // Without a backend there is no other half to vouch for.
            (Half::Front, &admin, &nobody, &plain, rights(true, &[], true)),
            (Half::Front, &nobody, &admin, &plain, rights(false, &[], false)),
            // Both name addresses.
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
            // That has a test of its own.
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
