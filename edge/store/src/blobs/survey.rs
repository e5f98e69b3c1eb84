//! Counts the files of the data folder by kind, in the background and so slowly that no other work waits for the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use devanture_base::telemetry::{Gauges, gauge_value};

/// The folders of files that a bucket can restore.
const CACHED: [&str; 4] = ["blobs", "deltas", "manifests", "variants"];
/// The counted folders.
const KINDS: [&str; 7] = ["blobs", "collected", "deltas", "manifests", "quarantine", "tmp", "variants"];
/// The folder of damaged files, counted at each look: the files are few, and the number is wanted soon.
const QUARANTINE: &str = "quarantine";
/// Interval of looks at the folder of damaged files …
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// … and the number of looks between two counts of all folders.
const LOOKS: u32 = 360;
/// Rest after a part of a count, as a multiple of the time of the part.
const REST_TIMES: u32 = 19;

/// Number of files and of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, more: Self) {
        self.files = self.files.saturating_add(more.files);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// The contents of a data folder as of the last count.
#[derive(Debug)]
pub struct Survey {
    folder: PathBuf,
    counted: Mutex<BTreeMap<&'static str, Amount>>,
}

impl Survey {
    /// Creates the survey of a data folder, without any counts yet.
    #[must_use]
    pub fn new(folder: PathBuf) -> Arc<Self> {
        Arc::new(Self { folder, counted: Mutex::default() })
    }

    /// Counts in a loop, for as long as the edge runs; calls `counted` after each count of all folders.
    pub async fn watch(self: Arc<Self>, counted: impl Fn()) {
        loop {
            for kind in KINDS {
                self.count(kind).await;
            }
            counted();
            for _ in 0..LOOKS {
                tokio::time::sleep(LOOK_EVERY).await;
                self.count(QUARANTINE).await;
            }
        }
    }

    /// Counts the files of one kind, folder by folder.
    async fn count(&self, kind: &'static str) {
        let folder = self.folder.join(kind);
        let mut amount = Amount::default();
        let (mut parts, direct) = of_folder(folder).await;
        amount.add(direct);
        while let Some(part) = parts.pop() {
            let began = Instant::now();
            let (inner, found) = of_folder(part).await;
            amount.add(found);
            parts.extend(inner);
            tokio::time::sleep(began.elapsed().saturating_mul(REST_TIMES)).await;
        }
        self.counted.lock().insert(kind, amount);
    }

    /// Bytes of blobs, manifests, variants and deltas as of the last count; `None` before the end of the first count.
    fn cached_bytes(&self) -> Option<u64> {
        let counted = self.counted.lock();
        CACHED.iter().try_fold(0_u64, |sum, kind| Some(sum.saturating_add(counted.get(kind)?.bytes)))
    }

    /// Adds the last counts; no gauge before the end of the first count of a kind.
    pub fn add_metrics(&self, gauges: &mut Gauges) {
        for (kind, amount) in self.counted.lock().iter() {
            gauges.add("devanture_stored_bytes", &[("kind", kind)], gauge_value(amount.bytes));
            gauges.add("devanture_stored_files", &[("kind", kind)], gauge_value(amount.files));
        }
    }
}

/// The use of a local disk in front of a bucket.
#[derive(Debug, Clone)]
pub struct CacheUse {
    survey: Arc<Survey>,
    bytes_max: u64,
}

impl CacheUse {
    /// Bounds the folder of `survey` to `bytes_max`; beyond the bound, files that are not live leave the disk.
    #[must_use]
    pub const fn new(survey: Arc<Survey>, bytes_max: u64) -> Self {
        Self { survey, bytes_max }
    }

    /// Bytes as of the last count; `None` before the end of the first count.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.survey.cached_bytes()
    }

    /// Bytes beyond which files leave the disk.
    #[must_use]
    pub const fn bytes_max(&self) -> u64 {
        self.bytes_max
    }
}

/// The folders in a folder, and the amount of files in the folder.
async fn of_folder(folder: PathBuf) -> (Vec<PathBuf>, Amount) {
    tokio::task::spawn_blocking(move || look(&folder)).await.unwrap_or_default()
}

/// Counts the files of a folder; files that cannot be read, or vanish meanwhile, are left out.
fn look(folder: &Path) -> (Vec<PathBuf>, Amount) {
    let (mut folders, mut amount) = (Vec::new(), Amount::default());
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            folders.push(entry.path());
        } else {
            amount.add(Amount { files: 1, bytes: metadata.len() });
        }
    }
    (folders, amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blobs::{Form, Key, Quality, open};
    use devanture_config::Digest;

    #[tokio::test]
    async fn every_kind_is_counted_with_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path().to_path_buf()).unwrap();
        for text in ["one", "three"] {
            blobs.put(Key::Blob(Digest::of(text.as_bytes())), text.into()).await.unwrap();
        }
        // A small variant is part of the index.
        let variants = vec![(Form::Br, Quality::Best, vec![b'e'; 9_000].into())];
        blobs.put_variants(Digest::of(b"one"), variants).await.unwrap();
        let survey = Survey::new(folder.path().to_owned());
        assert_eq!(survey.cached_bytes(), None, "nothing is counted yet");
        for kind in KINDS {
            survey.count(kind).await;
        }
        assert!(survey.cached_bytes().is_some_and(|bytes| bytes > 9_008));
        let counted = survey.counted.lock().clone();
        assert_eq!(counted["blobs"], Amount { files: 2, bytes: 8 });
        assert_eq!((counted["manifests"], counted["quarantine"]), (Amount::default(), Amount::default()));
        let variants = counted["variants"];
        assert!(variants.files == 2 && variants.bytes > 9_000, "the index is counted, too: {variants:?}");
        let mut gauges = Gauges::default();
        survey.add_metrics(&mut gauges);
        let text = gauges.render();
        assert!(text.contains("devanture_stored_bytes{kind=\"blobs\"} 8\n"), "{text}");
        assert!(text.contains("devanture_stored_files{kind=\"quarantine\"} 0\n"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_counted_at_the_start_and_what_was_set_aside_soon_again() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path().to_path_buf()).unwrap();
        let put = |text: &'static str| blobs.put(Key::Blob(Digest::of(text.as_bytes())), text.into());
        for text in ["one", "three"] {
            put(text).await.unwrap();
        }
        blobs.delete_put_before(Key::Blob(Digest::of(b"one")), u64::MAX, false).await.unwrap();
        let survey = Survey::new(folder.path().to_owned());
        let used = CacheUse::new(Arc::clone(&survey), 100);
        assert_eq!((used.bytes(), used.bytes_max()), (None, 100));
        let (counted, mut is_counted) = tokio::sync::mpsc::unbounded_channel();
        let watch = tokio::spawn(Arc::clone(&survey).watch(move || counted.send(()).unwrap()));
        is_counted.recv().await.unwrap();
        let of = |kind: &str| survey.counted.lock()[kind];
        assert_eq!((of("blobs"), used.bytes()), (Amount { files: 1, bytes: 5 }, Some(5)));
        assert_eq!(of("collected"), Amount { files: 1, bytes: 3 }, "it lies two folders deep");
        devanture_base::durable::write_file(&folder.path().join("quarantine/blob-ab"), b"damaged", 0o600).unwrap();
        put("seven").await.unwrap();
        tokio::time::sleep(LOOK_EVERY / 2).await;
        assert_eq!(of("quarantine"), Amount::default());
        tokio::time::sleep(LOOK_EVERY).await;
        assert_eq!((of("quarantine"), of("blobs").files), (Amount { files: 1, bytes: 7 }, 1));
        is_counted.recv().await.unwrap();
        assert_eq!(of("blobs"), Amount { files: 2, bytes: 10 });
        watch.abort();
    }
}
