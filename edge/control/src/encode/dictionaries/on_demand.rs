//! Makes deltas for dictionaries of requesting browsers. Requests of strangers start work, so all work is bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use devanture_config::{AppName, Digest, PlaceName, VersionId};
use devanture_site::fingerprint;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::maker::Dictionaries;
use super::making::Pair;
use crate::encode::compress::Pool;
use crate::encode::wire_size::Siblings;
use crate::ledger::Error;
use devanture_serve::live::DictionaryMiss;
use devanture_store::records::{self, VersionRecord};

/// Misses handled together: a browser causes several, and each version is reloaded once.
const TOGETHER_MAX: usize = 64;
/// Wait for further misses.
const TOGETHER: Duration = Duration::from_millis(500);
/// Dictionaries of the app per file, beyond which misses add no more, to leave room for deltas of pushes. Dictionaries
/// of other apps with the same file do not count, so that no app can deny deltas to another.
const DICTIONARIES_MAX: usize = 12;
const MINUTE: Duration = Duration::from_secs(60);

/// Use of the current minute's budget by apps.
struct Budget {
    since: Instant,
    spent: HashMap<AppName, u64>,
    max: u64,
}

impl Budget {
    fn new(max: u64) -> Self {
        Self { since: Instant::now(), spent: HashMap::new(), max }
    }

    /// Returns true if the app has budget left, before its data is examined.
    fn is_left(&mut self, app: &AppName) -> bool {
        if self.since.elapsed() >= MINUTE {
            *self = Self::new(self.max);
        }
        self.spent.get(app).copied().unwrap_or_default() < self.max
    }

    /// Takes budget for one delta, if left.
    fn take(&mut self, app: &AppName) -> bool {
        if !self.is_left(app) {
            return false;
        }
        let spent = self.spent.entry(app.clone()).or_default();
        *spent = spent.saturating_add(1);
        true
    }
}

impl Dictionaries {
    /// Makes missing deltas until all senders are dropped. `remade` receives every version with a new delta, `improve`
    /// every improvable delta.
    pub(crate) async fn fulfil(
        self: Arc<Self>,
        mut misses: mpsc::Receiver<DictionaryMiss>,
        pool: Arc<Pool>,
        remade: broadcast::Sender<VersionId>,
        improve: impl Fn(DictionaryMiss) + Send,
    ) {
        let mut budget = Budget::new(self.limits.on_demand_deltas_per_minute_max);
        while let Some(first) = misses.recv().await {
            tokio::time::sleep(TOGETHER).await;
            let mut together = vec![first];
            while together.len() < TOGETHER_MAX
                && let Ok(miss) = misses.try_recv()
            {
                together.push(miss);
            }
            let mut got: BTreeMap<VersionId, Vec<DictionaryMiss>> = BTreeMap::new();
            for miss in together {
                if !budget.is_left(&miss.app) {
                    continue;
                }
                match self.fulfil_one(&miss, &pool.of(&miss.app), &mut |app| budget.take(app)).await {
                    Ok(true) => got.entry(miss.version).or_default().push(miss),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(app = %miss.app, %error, "a requested delta was not made"),
                }
            }
            for (version, misses) in got {
                // The receiver is gone while the edge stops.
                remade.send(version).ok();
                misses.into_iter().for_each(&improve);
            }
        }
    }

    /// Makes the requested delta, if visitors of the environment or preview may have the dictionary and the delta is
    /// worthwhile. Returns true if a new delta exists.
    pub(crate) async fn fulfil_one(
        &self,
        miss: &DictionaryMiss,
        pool: &Pool,
        may: &mut (dyn FnMut(&AppName) -> bool + Send),
    ) -> Result<bool, Error> {
        let DictionaryMiss { app, environment, version, blob, sha256 } = miss;
        let of_place = self.by_sha256(app, environment.as_ref(), version).await?;
        let Some(dictionary) = of_place.get(sha256).copied() else { return Ok(false) };
        if self.was_tried(*blob, dictionary) {
            return Ok(false);
        }
        let key = records::version_key(app, version);
        let Some(stored) = self.catalog.get(&key).await? else { return Ok(false) };
        let record = self.record(app, version).await?.unwrap_or_default();
        let known: BTreeSet<&Digest> = record.all_from().chain(of_place.values()).collect();
        let deltas = self.blobs.deltas(*blob).await?.into_iter();
        let has: BTreeSet<Digest> =
            deltas.map(|delta| delta.dictionary).filter(|dictionary| known.contains(dictionary)).collect();
        let is_made = has.contains(&dictionary);
        let is_sent = is_made && record.from_in(environment.as_ref()).contains(&dictionary);
        if is_sent || !is_made && has.len() >= DICTIONARIES_MAX {
            return Ok(false);
        }
        if !may(app) {
            return Ok(false);
        }
        let Some(manifest) = self.manifest(app, *version).await? else { return Ok(false) };
        let VersionRecord { given, integrity, quick, .. } = records::read(&key, &stored)?;
        let environment = environment.clone().unwrap_or_else(PlaceName::preview);
        let served = self.served_in(&environment, &manifest, &given, &integrity).await?;
        let (manifest, given) = served.map_or((manifest, given), |(manifest, given)| (manifest, given.forms));
        // A browser requests a file again only under a stable name (`with_themselves`).
        let has_name_that_stays = || {
            let mut paths = manifest.files.iter().filter(|(_, one)| one.hash == *blob).map(|(path, _)| path);
            paths.any(|path| !path.is_private() && !fingerprint::is_fingerprinted(path.as_str()))
        };
        if dictionary == *blob && !has_name_that_stays() {
            self.tried_in_vain(*blob, dictionary);
            return Ok(false);
        }
        let wanted = (&given, Some(*blob));
        let Some(public) = self.public((app, &environment), &manifest, wanted, None).await? else { return Ok(false) };
        let entry = public.files().find(|(_, entry)| entry.hash == *blob).map(|(_, entry)| entry);
        let Some(entry) = entry else {
            self.tried_in_vain(*blob, dictionary);
            return Ok(false);
        };
        let siblings = Siblings::new(&manifest, &given, self.levels(app, *version, quick));
        let plain = self.travelling(&siblings, *blob, entry.size).await?;
        let pair = Pair::wanted(*blob, dictionary, *sha256, plain);
        let left = AtomicU64::new(self.limits.delta_bytes_max);
        if self.make_pair(pair, pool, None, &left).await? == 0 {
            return Ok(false);
        }
        // Also if other files already have deltas from the dictionary: the version uses the new delta only once
        // reloaded.
        self.add_from(app, version, &environment, &BTreeSet::from([dictionary])).await?;
        Ok(true)
    }

    /// Recompresses a requested delta at the best level. Returns true if improved.
    pub(crate) async fn improve_delta(&self, miss: &DictionaryMiss, pool: &Pool) -> Result<bool, Error> {
        let of_place = self.by_sha256(&miss.app, miss.environment.as_ref(), &miss.version).await?;
        let Some(dictionary) = of_place.get(&miss.sha256).copied() else { return Ok(false) };
        Ok(self.improve_file(miss.blob, &BTreeSet::from([dictionary]), pool, None).await? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_app_has_its_share_of_each_minute() {
        let (one, other): (AppName, AppName) = ("one".parse().unwrap(), "other".parse().unwrap());
        let mut budget = Budget::new(2);
        assert_eq!([budget.take(&one), budget.take(&one), budget.take(&one)], [true, true, false]);
        assert!(!budget.is_left(&one) && budget.is_left(&other) && budget.take(&other));
        tokio::time::advance(MINUTE).await;
        assert!(budget.take(&one));
    }
}
