//! Reads every stored file periodically, so that damage is found before a visitor or a restore needs the bytes.

use std::time::Duration;

use metrics::counter;
use tokio::time::sleep;

use super::{Blobs, Error, Key};
use devanture_base::clock::now_ms;

/// Parts of the store, one for each first byte of a digest.
const PARTS: u64 = 256;
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// Pause after a part that could not be listed.
const PAUSE: Duration = Duration::from_secs(60);

/// The pace and depth of the verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Number of days in which every file is read once; at least 1.
    pub days: u64,
    /// Upper bound of bytes read in a second.
    pub bytes_per_second_max: u64,
}

impl Pace {
    /// Milliseconds for a part.
    const fn part_ms(self) -> u64 {
        match self.days {
            0 => DAY_MS / PARTS,
            days => days.saturating_mul(DAY_MS) / PARTS,
        }
    }

    /// The number of the turn at a moment, counted from 1970: a restart goes on where the clock is.
    const fn turn(self, at_ms: u64) -> u64 {
        at_ms / self.part_ms()
    }

    /// The part that is read in a turn.
    fn part(turn: u64) -> u8 {
        u8::try_from(turn % PARTS).unwrap_or_default()
    }

    /// The next turn at a moment, which is `turn` unless the clock was set: no part waits longer than a turn lasts, and
    /// none is read twice in a pass.
    const fn caught_up(self, turn: u64, at_ms: u64) -> u64 {
        let now = self.turn(at_ms);
        if turn > now.saturating_add(1) || turn.saturating_add(PARTS) < now { now.saturating_add(1) } else { turn }
    }

    /// Time from a moment until a turn begins; zero if the turn has begun.
    const fn until(self, turn: u64, at_ms: u64) -> Duration {
        Duration::from_millis(turn.saturating_mul(self.part_ms()).saturating_sub(at_ms))
    }
}

/// Reads all parts in their turns, for ever. A part that takes longer than a turn is read to the end, and the next
/// parts follow at once. Calls `done` with the number of each part that could be read; 0 is the first of a pass.
pub async fn scrub<F: Future<Output = ()>>(blobs: &dyn Blobs, pace: Pace, done: impl Fn(u8) -> F) {
    let mut turn = pace.turn(now_ms()).saturating_add(1);
    loop {
        turn = pace.caught_up(turn, now_ms());
        sleep(pace.until(turn, now_ms())).await;
        let first = Pace::part(turn);
        match scrub_part(blobs, first, pace.bytes_per_second_max).await {
            Ok(()) => done(first).await,
            Err(error) => {
                tracing::warn!(part = first, %error, "a part of the stored files cannot be listed, and is not checked");
                sleep(PAUSE).await;
            }
        }
        turn = turn.saturating_add(1);
    }
}

/// Reads all files with digests beginning with the byte `first`.
async fn scrub_part(blobs: &dyn Blobs, first: u8, bytes_per_second_max: u64) -> Result<(), Error> {
    for key in blobs.held_part(first).await? {
        let mut keys = vec![key];
        if let Key::Blob(blob) = key {
            keys.extend(blobs.stored_variants(blob).await?.iter().map(|info| Key::Variant(blob, info.form)));
            keys.extend(blobs.deltas(blob).await?.iter().map(|info| Key::Delta(blob, info.dictionary, info.form)));
        }
        for key in keys {
            match blobs.check(key, bytes_per_second_max).await {
                Ok(bytes) => {
                    counter!("devanture_scrubbed_files_total").increment(1);
                    counter!("devanture_scrubbed_bytes_total").increment(bytes);
                }
                // The file was deleted since the list was made.
                Err(Error::Missing(_)) => {}
                // The store logs files that are set aside.
                Err(error @ Error::Corrupt { .. }) => {
                    tracing::debug!(%error, "a stored file is damaged");
                    counter!("devanture_scrub_damaged_files_total").increment(1);
                }
                Err(error) => tracing::warn!(?key, %error, "a stored file cannot be checked"),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blobs::{DeltaForm, Form, NewDelta, Quality, open};
    use devanture_config::{Digest, Sha256};

    proptest! {
        #[test]
        fn every_part_has_its_turn_within_the_days(days in 1..400_u64, at_ms in 0..10_000_000_000_000_u64) {
            let pace = Pace { days, bytes_per_second_max: 1 };
            let turn = pace.turn(at_ms);
            prop_assert_eq!(pace.until(turn, at_ms), Duration::ZERO);
            prop_assert!(pace.until(turn + 1, at_ms) <= Duration::from_millis(pace.part_ms()));
            let parts: std::collections::BTreeSet<u8> = (turn..turn + PARTS).map(Pace::part).collect();
            prop_assert_eq!(parts.len(), 256, "each has one");
            for next in [turn, turn + 1, turn.saturating_sub(PARTS)] {
                prop_assert_eq!(pace.caught_up(next, at_ms), next, "late, or in time");
            }
            for next in [turn + 2, turn + 100_000] {
                prop_assert_eq!(pace.caught_up(next, at_ms), turn + 1, "the clock was set back");
            }
            prop_assert_eq!(pace.caught_up(turn, at_ms + (PARTS + 1) * pace.part_ms()), turn + PARTS + 2, "or ahead");
            let last = pace.until(turn + PARTS, at_ms);
            prop_assert!(last <= Duration::from_millis(days * DAY_MS));
        }
    }

    /// A store with a blob, a manifest of the same bytes, and a variant.
    async fn filled(folder: &std::path::Path) -> (std::sync::Arc<dyn Blobs>, Digest) {
        let blobs = open(folder.to_path_buf()).unwrap();
        let bytes = b"whole".as_slice();
        let digest = Digest::of(bytes);
        for key in [Key::Blob(digest), Key::Manifest(digest)] {
            blobs.put(key, bytes.into()).await.unwrap();
        }
        blobs.put_variants(digest, vec![(Form::Br, Quality::Best, vec![7; 10_000].into())]).await.unwrap();
        (blobs, digest)
    }

    #[tokio::test]
    async fn damage_is_found_in_blobs_manifests_variants_and_deltas() {
        let folder = tempfile::tempdir().unwrap();
        let (blobs, digest) = filled(folder.path()).await;
        let dictionary = Digest::of(b"an older file");
        let (form, quality, bytes) = (DeltaForm::Dcz, Quality::Quick, vec![8; 500].into());
        let delta = NewDelta { form, dictionary, sha256: Sha256::from([1; 32]), quality, bytes };
        blobs.put_deltas(digest, vec![delta]).await.unwrap();
        let [first, ..] = *digest.as_bytes();
        scrub_part(&*blobs, first, 1_000_000).await.unwrap();
        let quarantine = || std::fs::read_dir(folder.path().join("quarantine")).unwrap().count();
        assert_eq!(quarantine(), 0);
        let name = digest.to_string();
        for (kind, name) in [
            ("blobs", name.clone()),
            ("manifests", format!("{name}.json")),
            ("variants", format!("{name}.br")),
            ("deltas", format!("{name}.{dictionary}.dcz")),
        ] {
            let path = folder.path().join(kind).join(&name[..2]).join(&name);
            let length = std::fs::metadata(&path).unwrap().len();
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; usize::try_from(length).unwrap()], 0).unwrap();
        }
        scrub_part(&*blobs, first, 1_000_000).await.unwrap();
        assert_eq!(quarantine(), 4);
        assert_eq!(blobs.size(Key::Blob(digest)).await.unwrap(), None);
        // No damage is left to find.
        scrub_part(&*blobs, first, 1_000_000).await.unwrap();
        assert_eq!(quarantine(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_read_when_its_turn_begins_and_reported_then() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path().to_path_buf()).unwrap();
        // So slow that a turn hardly begins during the test.
        let pace = Pace { days: 4_000, bytes_per_second_max: 1_000_000 };
        let began = tokio::time::Instant::now();
        let (turn, at_ms) = (pace.turn(now_ms()) + 1, now_ms());
        let (done, mut is_done) = tokio::sync::mpsc::unbounded_channel();
        let scrubbing = scrub(&*blobs, pace, |part| {
            done.send(part).unwrap();
            std::future::ready(())
        });
        let part = tokio::select! {
            () = scrubbing => panic!("it ended"),
            part = is_done.recv() => part.unwrap(),
        };
        assert!([turn, turn + 1].map(Pace::part).contains(&part), "{part} in turn {turn}");
        // The clock of the test advances only by the waits.
        assert!(began.elapsed() + Duration::from_secs(60) >= pace.until(turn, at_ms), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn files_that_were_read_and_damaged_ones_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (blobs, digest) = filled(folder.path()).await;
        let [first, ..] = *digest.as_bytes();
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _counted_here = metrics::set_default_local_recorder(&recorder);
        let value = |name: &str| {
            let text = recorder.handle().render();
            let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
            text.lines().find_map(of)
        };
        let counted = || {
            let whole = [value("devanture_scrubbed_files_total"), value("devanture_scrubbed_bytes_total")];
            (whole.map(Option::unwrap), value("devanture_scrub_damaged_files_total"))
        };
        scrub_part(&*blobs, first, u64::MAX).await.unwrap();
        assert_eq!(counted(), (["3", "10010"].map(str::to_owned), None));
        let name = digest.to_string();
        let path = folder.path().join("blobs").join(&name[..2]).join(&name);
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"W", 0).unwrap();
        scrub_part(&*blobs, first, u64::MAX).await.unwrap();
        assert_eq!(counted(), (["5", "20015"].map(str::to_owned), Some("1".to_owned())));
    }
}
