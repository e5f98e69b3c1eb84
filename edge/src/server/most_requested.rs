//! Records the most requested environments for the next start, which loads them first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devanture_config::{AppName, PlaceName};

use devanture_base::durable::{self, FILE_MODE};
use devanture_base::telemetry::Tallies;
use devanture_serve::live::Loader;

/// The file in the data folder.
const NAME: &str = "requests.json";
/// Maximum number of recorded environments: the rest differ little.
const ENVIRONMENTS_MAX: usize = 1_000;
/// Maximum size of the file.
const BYTES_MAX: u64 = 1024 * 1024;
/// Interval of writes; a final write happens at the end.
const WRITTEN_EVERY: Duration = Duration::from_secs(3_600);

/// Requests by app and environment.
pub(super) type Requests = HashMap<(AppName, PlaceName), u64>;

/// The file, and the counts to write. Cheap to clone.
#[derive(Clone)]
pub(super) struct Record {
    path: PathBuf,
    tallies: Tallies,
}

impl Record {
    pub(super) fn new(data_dir: &Path, loader: &Loader) -> Self {
        Self { path: data_dir.join(NAME), tallies: loader.tallies().clone() }
    }

    /// Reads the counts of an earlier process; empty if unreadable.
    pub(super) fn read(&self) -> Requests {
        let is_short = std::fs::metadata(&self.path).is_ok_and(|file| file.len() <= BYTES_MAX);
        let text = if is_short { std::fs::read(&self.path).unwrap_or_default() } else { Vec::new() };
        let counts: Vec<(AppName, PlaceName, u64)> = serde_json::from_slice(&text).unwrap_or_default();
        counts.into_iter().map(|(app, name, count)| ((app, name), count)).collect()
    }

    /// Writes the counts of the process, the highest first.
    pub(super) fn write(&self) {
        let mut counts = self.tallies.requests();
        if counts.is_empty() {
            return;
        }
        counts.sort_by(|one, other| (other.2, &one.0, &one.1).cmp(&(one.2, &other.0, &other.1)));
        counts.truncate(ENVIRONMENTS_MAX);
        let text = serde_json::to_vec(&counts).unwrap_or_default();
        if let Err(error) = durable::write_file(&self.path, &text, FILE_MODE) {
            tracing::warn!(%error, "it could not be written which environments were requested most");
        }
    }

    /// Writes the counts periodically, as long as the edge runs.
    pub(super) async fn keep_writing(self) {
        loop {
            tokio::time::sleep(WRITTEN_EVERY).await;
            let record = self.clone();
            tokio::task::spawn_blocking(move || record.write()).await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
    fn what_was_requested_most_is_read_again_and_what_cannot_be_read_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let tallies = Tallies::default();
        let record = Record { path: folder.path().join(NAME), tallies: tallies.clone() };
        assert!(record.read().is_empty());
        let counted: Vec<_> = [("shop", 3), ("blog", 0), ("docs", 1)]
            .map(|(app, times)| {
                let tally = tallies.of(app, "prod");
                (0..times).for_each(|_| tally.count(StatusCode::OK));
                tally
            })
            .into();
        record.write();
        let key = |app: &str| (app.parse().unwrap(), PlaceName::prod());
        assert_eq!(record.read(), Requests::from([(key("shop"), 3), (key("docs"), 1)]));
        drop(counted);
        for text in ["", "[", "[[\"-\",\"prod\",1]]", "{}"] {
            std::fs::write(&record.path, text).unwrap();
            assert!(record.read().is_empty(), "{text}");
        }
    }
}
