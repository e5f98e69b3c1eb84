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
/// [`VersionRecord`]: crate::catalog::records::VersionRecord
#[derive(Clone, Default)]
pub(super) struct Rights {
    pub(super) trusted: bool,
    pub(super) trusted_in: BTreeSet<PlaceName>,
    pub(super) edge_admin: bool,
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
        let other = &origin.rights;
        let owns_tables = self.manifest.base.server.as_ref().is_some_and(|server| server.owns.is_some());
        let (trusted, trusted_in) = match half {
            // The addresses come from both halves.
            _ if owns_tables => own.both_trust(other),
            Half::Backend => (other.trusted, other.trusted_in.clone()),
            Half::Front => (own.trusted, own.trusted_in),
        };
        let edge_admin = match half {
            Half::Front if self.manifest.has_backend() => other.edge_admin,
            Half::Front | Half::Backend => own.edge_admin,
        };
        Rights { trusted, trusted_in, edge_admin }
    }

    /// When the pages of the other half count as stored, where that is not now.
    pub(super) fn stored_ms(&self) -> Option<u64> {
        self.joined.as_ref()?.origin.as_ref()?.stored_ms
    }
}
