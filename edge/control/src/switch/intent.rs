//! Intent of a switch: version, environment, preconditions, skipped checks.

use devanture_config::api::{DeployKind, Source};
use devanture_config::manifest::halves::{Half, Halves};
use devanture_config::{AppName, PlaceName, VersionId};

use crate::ledger::{Action, Actor, AuditEvent, Condition};
use crate::places::LockTreatment;
use devanture_store::records::halves_begun::HalvesBegun;
use devanture_store::records::{CanaryRecord, LivePointer};

/// Kind of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    Push,
    Switch,
    Rollback {
        /// History entry from which the next rollback starts; `None` for a version never live here.
        position: Option<String>,
    },
    Promote,
}

impl Move {
    /// Returns the kind of the history entry.
    pub(crate) const fn kind(&self) -> DeployKind {
        match self {
            Self::Push => DeployKind::Push,
            Self::Switch => DeployKind::Switch,
            Self::Rollback { .. } => DeployKind::Rollback,
            Self::Promote => DeployKind::Promote,
        }
    }

    const fn action(&self) -> Action {
        match self {
            Self::Push => Action::Push,
            Self::Switch => Action::Switch,
            Self::Rollback { .. } => Action::Rollback,
            Self::Promote => Action::Promote,
        }
    }

    pub(crate) const fn is_push(&self) -> bool {
        matches!(self, Self::Push)
    }

    pub(crate) const fn is_rollback(&self) -> bool {
        matches!(self, Self::Rollback { .. })
    }

    /// Returns true for a return to a version that was live here: checked then, and an incident must not wait.
    pub(crate) const fn was_live_here(&self) -> bool {
        matches!(self, Self::Rollback { position: Some(_) })
    }

    /// Returns true if the version's rules were not yet checked for the environment; rules of a push have just been
    /// checked.
    pub(crate) const fn has_unchecked_rules(&self) -> bool {
        !self.is_push() && !self.was_live_here()
    }
}

/// Relation of a switch to a canary.
#[derive(Debug, Clone, Default)]
pub(crate) enum CanaryMove {
    /// None: the switch is refused while a canary runs.
    #[default]
    None,
    /// Begins the canary; the live version stays.
    Begins(Box<CanaryRecord>),
    /// Makes the version of the canary live; names the deploy that began the canary.
    Finishes(String),
}

/// Preconditions of a switch on the live version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Preconditions<'i> {
    /// Version id, or a prefix.
    pub(crate) version: Option<&'i str>,
    /// Revision of the live pointer.
    pub(crate) condition: &'i Condition,
    /// Deploy to be undone.
    pub(crate) undone: Option<Undone<'i>>,
}

/// Deploy undone by the edge itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Undone<'i> {
    pub(crate) deploy: &'i str,
    pub(crate) why: &'i str,
}

/// Skipped checks of a switch.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line, and none excludes another")]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Passes {
    /// The live version came from a later push.
    pub(crate) newer_pushes: bool,
    /// A fingerprinted name gets other content.
    pub(crate) fingerprints: bool,
    /// The environment is locked, if the actor may override the lock.
    pub(crate) lock: bool,
    /// Checks of `[[smoke]]`.
    pub(crate) smoke: bool,
}

/// Switch to be made, with its reason.
pub(crate) struct Intent<'i> {
    pub(crate) app: &'i AppName,
    pub(crate) environment: &'i PlaceName,
    pub(crate) version: VersionId,
    pub(crate) movement: Move,
    /// Deploy id.
    pub(crate) deploy: &'i str,
    /// Orders pushes: earlier pushes have smaller numbers.
    pub(crate) begun: u64,
    pub(crate) actor: &'i Actor,
    pub(crate) source: &'i Source,
    /// Log lines so far.
    pub(crate) log: &'i [String],
    pub(crate) expected: Preconditions<'i>,
    pub(crate) passes: Passes,
    /// Revision of the settings to apply; by default the revision in force.
    pub(crate) settings: Option<u64>,
    /// For a push of one half that follows the live version: the half, and the version with the other half.
    pub(crate) half: Option<(Half, Option<VersionId>)>,
    /// Halves of a push, and the version with the other half, for the history.
    pub(crate) brought: (Option<Halves>, Option<VersionId>),
    /// Reason given by the actor.
    pub(crate) reason: Option<&'i str>,
    /// Relation to a canary.
    pub(crate) canary: CanaryMove,
}

impl Intent<'_> {
    /// Returns the treatment of a lock.
    pub(crate) const fn passage(&self) -> LockTreatment {
        match (&self.movement, self.passes.lock, self.expected.undone) {
            (Move::Push, ..) => LockTreatment::Push,
            (_, false, _) => LockTreatment::Stops,
            (_, true, None) => LockTreatment::Forced,
            (_, true, Some(_)) => LockTreatment::Undo,
        }
    }

    /// Returns the beginnings of the pushes of both halves, for the version once live.
    pub(crate) fn halves_begun(&self, live: Option<&LivePointer>) -> HalvesBegun {
        let before = live.map(LivePointer::halves).unwrap_or_default();
        match (&self.movement, self.half) {
            (Move::Push, Some((half, _))) => before.with(half, self.begun),
            (Move::Push, None) => HalvesBegun::both(self.begun),
            // A rollback must not admit pushes older than the version rolled back from, so its number stays.
            (Move::Switch | Move::Rollback { .. } | Move::Promote, _) => before,
        }
    }

    /// Returns the beginning of the newest push of the live version that the switch would supersede.
    pub(crate) fn taken_over(&self, live: &LivePointer) -> u64 {
        self.half.map_or(live.begun, |(half, _)| live.halves().of(half))
    }

    /// Returns the canary to begin.
    pub(crate) fn begun_canary(&self) -> Option<&CanaryRecord> {
        match &self.canary {
            CanaryMove::Begins(record) => Some(record),
            CanaryMove::None | CanaryMove::Finishes(_) => None,
        }
    }

    /// Returns the entry for the audit log.
    pub(crate) fn event(&self) -> AuditEvent {
        let action = if self.begun_canary().is_some() { Action::Canary } else { self.movement.action() };
        AuditEvent::of(action).place(self.app, self.environment)
    }
}
