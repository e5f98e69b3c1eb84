//! One half of a bundle as it was joined with the other, and the rights of both.

use std::collections::BTreeSet;
use std::sync::Arc;

use devanture_config::manifest::halves::Half;
use devanture_config::{Manifest, PlaceName, VersionId};

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

/// The rights of the push that stored the other half.
#[derive(Default)]
pub(crate) struct Origin {
    pub(super) trusted: bool,
    pub(super) trusted_in: BTreeSet<PlaceName>,
    pub(super) edge_admin: bool,
    /// When its pages count as stored, where some of its paths were withdrawn since.
    pub(super) stored_ms: Option<u64>,
}

/// What the record of a version says of the push that stores it.
pub(super) struct StoredAs {
    pub(super) stored_ms: u64,
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

impl Origin {
    /// Whether it vouches for what is served in an environment.
    pub(super) fn trusts(&self, place: &PlaceName) -> bool {
        self.trusted || self.trusted_in.contains(place)
    }
}
