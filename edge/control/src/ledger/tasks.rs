//! Last runs of maintenance tasks, kept across restarts and shown in metrics.

use metrics::gauge;
use serde::{Deserialize, Serialize};

use super::{SystemWrite, commit_system};
use devanture_base::clock;
use devanture_store::catalog::{Catalog, Change, Commit};
use devanture_store::records;

/// Maintenance task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Backup.
    Backup,
    /// Collection.
    Collection,
    /// Verification of a part of the stored files.
    Scrub,
}

/// `tasks/{task}`: last run of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct TaskRecord {
    /// Time in milliseconds since 1970 UTC.
    at_ms: u64,
    /// Time by the clock that decides final deletions. The next start continues from there, so that a temporarily wrong
    /// clock is not trusted.
    #[serde(default)]
    settled_ms: Option<u64>,
}

impl Task {
    const ALL: [Self; 3] = [Self::Backup, Self::Collection, Self::Scrub];

    const fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Collection => "collection",
            Self::Scrub => "scrub",
        }
    }

    fn key(self) -> String {
        format!("tasks/{}", self.word())
    }
}

/// Records a run of a task. If the write fails, the metrics of the process still show the run.
pub async fn task_done(catalog: &dyn Catalog, task: Task) {
    let at_ms = clock::now_ms();
    show_task(task.word(), at_ms);
    let record = TaskRecord { at_ms, settled_ms: Some(clock::settled_ms()) };
    let Ok(value) = records::write(&record) else { return };
    let commit = Commit { checks: Vec::new(), changes: vec![Change::Put(task.key(), value)] };
    if let Err(error) = commit_system(catalog, SystemWrite::Task, commit).await {
        tracing::debug!(task = task.word(), %error, "the time of a task cannot be written");
    }
}

/// Restores the metrics of earlier processes, and the clock that decides final deletions.
pub async fn show_tasks(catalog: &dyn Catalog) {
    let mut last_ms = None;
    for task in Task::ALL {
        let key = task.key();
        let Ok(Some(record)) = catalog.get(&key).await else { continue };
        if let Ok(TaskRecord { at_ms, settled_ms }) = records::read(&key, &record) {
            show_task(task.word(), at_ms);
            last_ms = last_ms.max(settled_ms.or(Some(at_ms)));
        }
    }
    if let Some(last_ms) = last_ms {
        clock::settle_clock_from(last_ms);
    }
}

/// Sets the metric of a task's last run.
pub fn show_task(task: &'static str, at_ms: u64) {
    #[allow(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
    gauge!("devanture_last_success_timestamp_seconds", "task" => task).set(at_ms as f64 / 1_000.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_work_of_a_task_is_stored_as_it_was() {
        records::golden::check("tasks/{task}", &TaskRecord { at_ms: 1, settled_ms: Some(2) });
    }
}
