//! Locks, pauses and share links of environments, the steps of a canary, and the changes of an app that sessions
//! confirm.

use devanture_config::api::{BadPlan, CanaryPlan, Confirmations, ConfirmedAction, Lock, Pause, ShareTarget};

use crate::records::protection::StoredTarget;
use crate::records::sessions::ConfirmationsRecord;
use crate::records::{LockRecord, PauseRecord, StoredAction, StoredPlan};

impl From<Pause> for PauseRecord {
    fn from(pause: Pause) -> Self {
        let Pause { since_ms, who, message, allow, retry_after_s } = pause;
        Self { since_ms, who, message, allow, retry_after_s }
    }
}

impl From<PauseRecord> for Pause {
    fn from(pause: PauseRecord) -> Self {
        let PauseRecord { since_ms, who, message, allow, retry_after_s } = pause;
        Self { since_ms, who, message, allow, retry_after_s }
    }
}

impl From<Lock> for LockRecord {
    fn from(lock: Lock) -> Self {
        let Lock { since_ms, who, reason } = lock;
        Self { since_ms, who, reason }
    }
}

impl From<LockRecord> for Lock {
    fn from(lock: LockRecord) -> Self {
        let LockRecord { since_ms, who, reason } = lock;
        Self { since_ms, who, reason }
    }
}

impl From<CanaryPlan> for StoredPlan {
    fn from(plan: CanaryPlan) -> Self {
        let (shares, every_s) = plan.into_parts();
        Self { shares, every_s }
    }
}

impl TryFrom<StoredPlan> for CanaryPlan {
    type Error = BadPlan;

    fn try_from(plan: StoredPlan) -> Result<Self, BadPlan> {
        let StoredPlan { shares, every_s } = plan;
        Self::new(shares, every_s)
    }
}

impl From<ShareTarget> for StoredTarget {
    fn from(target: ShareTarget) -> Self {
        match target {
            ShareTarget::Alias(name) => Self::Alias(name),
            ShareTarget::Environment(name) => Self::Environment(name),
            ShareTarget::Version(id) => Self::Version(id),
        }
    }
}

impl From<StoredTarget> for ShareTarget {
    fn from(target: StoredTarget) -> Self {
        match target {
            StoredTarget::Alias(name) => Self::Alias(name),
            StoredTarget::Environment(name) => Self::Environment(name),
            StoredTarget::Version(id) => Self::Version(id),
        }
    }
}

impl From<Confirmations> for ConfirmationsRecord {
    fn from(confirmations: Confirmations) -> Self {
        let Confirmations { confirm } = confirmations;
        Self { confirm: confirm.into_iter().map(StoredAction::from).collect() }
    }
}

impl From<ConfirmationsRecord> for Confirmations {
    fn from(confirmations: ConfirmationsRecord) -> Self {
        let ConfirmationsRecord { confirm } = confirmations;
        Self { confirm: confirm.into_iter().map(ConfirmedAction::from).collect() }
    }
}
