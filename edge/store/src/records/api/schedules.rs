//! Runs of schedules, and skipped times.

use devanture_config::api::{ScheduleRun, ScheduleRunEnd, ScheduleSkip};

use crate::records::schedules::{StoredRun, StoredRunEnd, StoredSkip};

impl From<ScheduleRun> for StoredRun {
    fn from(run: ScheduleRun) -> Self {
        let ScheduleRun { due_ms, started_ms, node, version } = run;
        Self { due_ms, started_ms, node, version }
    }
}

impl From<StoredRun> for ScheduleRun {
    fn from(run: StoredRun) -> Self {
        let StoredRun { due_ms, started_ms, node, version } = run;
        Self { due_ms, started_ms, node, version }
    }
}

impl From<ScheduleRunEnd> for StoredRunEnd {
    fn from(end: ScheduleRunEnd) -> Self {
        let ScheduleRunEnd { run, ended_ms, outcome, exit_code, detail } = end;
        Self { run: run.into(), ended_ms, outcome: outcome.into(), exit_code, detail }
    }
}

impl From<StoredRunEnd> for ScheduleRunEnd {
    fn from(end: StoredRunEnd) -> Self {
        let StoredRunEnd { run, ended_ms, outcome, exit_code, detail } = end;
        Self { run: run.into(), ended_ms, outcome: outcome.into(), exit_code, detail }
    }
}

impl From<ScheduleSkip> for StoredSkip {
    fn from(skip: ScheduleSkip) -> Self {
        let ScheduleSkip { due_ms, reason } = skip;
        Self { due_ms, reason: reason.into() }
    }
}

impl From<StoredSkip> for ScheduleSkip {
    fn from(skip: StoredSkip) -> Self {
        let StoredSkip { due_ms, reason } = skip;
        Self { due_ms, reason: reason.into() }
    }
}
