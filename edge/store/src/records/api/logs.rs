//! Entries of the audit log and of live logs.

use devanture_config::api::{AuditEntry, By, LiveLogEntry, Via};

use crate::records::identities::AuditRecord;
use crate::records::signing::LiveLogRecord;
use crate::records::{StoredBy, StoredVia};

impl From<AuditEntry> for AuditRecord {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { number, at_ms, action, who, by, credential, root, via, from, node, app, environment, what } =
            entry;
        let (by, via) = (StoredBy::from(by), via.map(StoredVia::from));
        Self { number, at_ms, action, who, by, credential, root, via, from, node, app, environment, what }
    }
}

impl From<AuditRecord> for AuditEntry {
    fn from(entry: AuditRecord) -> Self {
        let AuditRecord { number, at_ms, action, who, by, credential, root, via, from, node, app, environment, what } =
            entry;
        let (by, via) = (By::from(by), via.map(Via::from));
        Self { number, at_ms, action, who, by, credential, root, via, from, node, app, environment, what }
    }
}

impl From<LiveLogEntry> for LiveLogRecord {
    fn from(entry: LiveLogEntry) -> Self {
        let LiveLogEntry { number, previous, at_ms, version, settings, deploy, kind, who, signed_by, hash } = entry;
        let kind = kind.into();
        Self { number, previous, at_ms, version, settings, deploy, kind, who, signed_by, hash }
    }
}

impl From<LiveLogRecord> for LiveLogEntry {
    fn from(entry: LiveLogRecord) -> Self {
        let LiveLogRecord { number, previous, at_ms, version, settings, deploy, kind, who, signed_by, hash } = entry;
        let kind = kind.into();
        Self { number, previous, at_ms, version, settings, deploy, kind, who, signed_by, hash }
    }
}
