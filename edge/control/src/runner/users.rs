//! Users of instances: one per environment and one for the previews of an app, if the edge may use other users.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use devanture_config::AppName;
use devanture_config::edge_toml::{self, Uids};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::place_user::{PREVIEW, PlaceUser};
use devanture_base::durable;
use devanture_host::spawner::claim_when_free;
use devanture_host::spawner::claims::{self, Claim, Claimant, Range, Wanted};
use devanture_store::catalog::Catalog;
use devanture_store::records;
use devanture_store::records::instances::{UIDS_PREFIX, UidRecord, uid_key};

/// Default id range of early versions, which recorded no range.
const EARLIER_DEFAULT: Range = 200_000..=265_535;
/// File of the data folder with the edge's id ranges.
const RECORD: &str = "user-ids.json";

/// Source of instance users.
#[derive(Debug, Clone)]
pub(super) enum Users {
    /// The edge's own user.
    Same,
    /// The edge is root, and changes owners itself.
    Given(Ids),
    /// A privileged spawner starts instances; the edge cannot change owners.
    Lent(Ids),
}

/// Access of an edge to users for its instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// None but its own user.
    Nowhere,
    /// Claimed by the edge, as root.
    Itself,
    /// Claimed by a spawner.
    Spawner,
}

impl Source {
    /// Returns the access of an edge, with or without root.
    pub(super) fn new(settings: &edge_toml::Runner, is_root: bool) -> Result<Self, Error> {
        match (settings.spawner.is_some(), is_root) {
            (true, _) => Ok(Self::Spawner),
            (false, true) => Ok(Self::Itself),
            (false, false) if settings.uids.is_none() => Ok(Self::Nowhere),
            (false, false) => {
                let why = "[runner] uids needs an edge that is root, or [runner] spawner: this edge cannot start a process as another user";
                Err(Error::User(why.to_owned()))
            }
        }
    }
}

/// Range of ids exclusive to the edge.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    range: Range,
    /// Earlier ranges, whose files may still exist.
    earlier: Vec<Range>,
    /// Lock against other edges, if held by the edge.
    claim: Arc<Mutex<Option<Claim>>>,
}

/// Recorded range of ids, as text: `FIRST-LAST`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct IdsRecord {
    range: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<String>,
}

impl IdsRecord {
    fn read(file: &Path) -> Result<Option<Self>, Error> {
        let cannot = |why: String| Error::User(format!("{} cannot be read: {why}", file.display()));
        match std::fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot(error.to_string())),
            Ok(text) => Ok(Some(serde_json::from_slice(&text).map_err(|error| cannot(error.to_string()))?)),
        }
    }

    /// Returns the record with the current range.
    fn with(self, range: &Range) -> Self {
        let mut earlier = self.earlier;
        let before = Some(self.range).filter(|before| !before.is_empty() && *before != claims::written(range));
        earlier.extend(before);
        earlier.dedup();
        Self { range: claims::written(range), earlier }
    }
}

impl Ids {
    /// Claims a range on the machine: `wanted`, the recorded range, or any free range.
    pub(super) async fn claim(data_dir: &Path, claimant: &Claimant, wanted: Option<&Uids>) -> Result<Self, Error> {
        let before = IdsRecord::read(&data_dir.join(RECORD))?.and_then(|record| claims::parsed(&record.range));
        let wanted = wanted.map_or(Wanted::Any(before), |wanted| Wanted::Exactly(wanted.0.clone()));
        let claim = claim_when_free(claimant, &wanted).await.map_err(|error| Error::User(error.to_string()))?;
        Self::recorded(data_dir, claim.range.clone(), Some(claim))
    }

    /// Adopts the range of the predecessor edge, with its lock.
    pub(super) fn adopt(data_dir: &Path, lock: OwnedFd) -> Result<Self, Error> {
        let record = IdsRecord::read(&data_dir.join(RECORD))?;
        let range = record.and_then(|record| claims::parsed(&record.range));
        let range = range.ok_or_else(|| Error::User(format!("{RECORD} names no range")))?;
        Self::recorded(data_dir, range.clone(), Some(Claim::adopt(range, lock)))
    }

    /// Uses the range claimed by a spawner, or its part `wanted`.
    pub(super) fn lent(data_dir: &Path, range: &Range, wanted: Option<&Uids>) -> Result<Self, Error> {
        let wanted = wanted.map_or(range, |wanted| &wanted.0);
        if !range.contains(wanted.start()) || !range.contains(wanted.end()) {
            let (wanted, range) = (claims::written(wanted), claims::written(range));
            let why = format!("`runner.uids` is {wanted}, and the spawner gives {range}: leave `runner.uids` out");
            return Err(Error::User(why));
        }
        Self::recorded(data_dir, wanted.clone(), None)
    }

    pub(super) fn range(&self) -> &Range {
        &self.range
    }

    fn recorded(data_dir: &Path, range: Range, claim: Option<Claim>) -> Result<Self, Error> {
        let file = data_dir.join(RECORD);
        let found = IdsRecord::read(&file)?;
        let is_known = found.as_ref().is_some_and(|record| record.range == claims::written(&range));
        // Without a record, an early version of the edge may have used the default range.
        let first = || IdsRecord { range: claims::written(&EARLIER_DEFAULT), earlier: Vec::new() };
        let record = found.unwrap_or_else(first).with(&range);
        if !is_known {
            let text = serde_json::to_vec(&record).map_err(|error| Error::User(error.to_string()))?;
            durable::make_folder(data_dir)?;
            durable::write_file(&file, &text, durable::FILE_MODE)?;
        }
        let earlier = record.earlier.iter().filter_map(|earlier| claims::parsed(earlier)).collect();
        Ok(Self { range, earlier, claim: Arc::new(Mutex::new(claim)) })
    }

    /// Returns the earlier ids of an environment or of previews: by number in other ranges, and by the app's pair in
    /// any range.
    fn before(&self, record: &UidRecord, is_preview: bool) -> Vec<u32> {
        let in_pair = record.pair.and_then(|pair| pair.checked_mul(2)?.checked_add(u32::from(is_preview)));
        let of_number = self.earlier.iter().filter_map(|range| id_in(range, record.number));
        let of_pair = [&self.range].into_iter().chain(&self.earlier).filter_map(|range| id_in(range, in_pair?));
        of_number.chain(of_pair).collect()
    }
}

/// Returns the id with the number in a range.
fn id_in(range: &Range, number: u32) -> Option<u32> {
    range.start().checked_add(number).filter(|uid| range.contains(uid))
}

impl Users {
    /// Returns the range usable by the edge itself.
    pub(super) fn range(&self) -> Option<&Range> {
        match self {
            Self::Same => None,
            Self::Given(ids) | Self::Lent(ids) => Some(&ids.range),
        }
    }

    fn ids(&self) -> Option<&Ids> {
        match self {
            Self::Same => None,
            Self::Given(ids) | Self::Lent(ids) => Some(ids),
        }
    }

    /// Copies the lock against other edges, for the next edge, if held here.
    ///
    /// # Errors
    /// No descriptors are left.
    pub(super) fn copy_lock(&self) -> io::Result<Option<OwnedFd>> {
        let claim = self.ids().map(|ids| ids.claim.lock());
        claim.as_deref().and_then(Option::as_ref).map(Claim::copy).transpose()
    }

    /// Releases the range to the next run of the edge. No instance may be running.
    pub(super) fn release(&self) {
        if let Some(ids) = self.ids() {
            drop(ids.claim.lock().take());
        }
    }

    /// Returns true if environments have their own users.
    pub(super) fn are_there(&self) -> bool {
        !matches!(self, Self::Same)
    }

    /// Returns the number of ids.
    pub(super) fn count(&self) -> u32 {
        self.range().map_or(u32::MAX, |range| range.end().saturating_sub(*range.start()).saturating_add(1))
    }

    /// Returns the id with the number; `None` beyond the range.
    pub(super) fn id(&self, number: u32) -> Option<u32> {
        id_in(self.range()?, number)
    }

    /// Returns the user of an app with the settings of `settings_place`; `None` for the edge's own. Previews have a
    /// separate user: code pushed by anyone as a preview must neither read nor signal environments.
    pub(super) async fn of(
        &self,
        catalog: &dyn Catalog,
        app: &AppName,
        settings_place: &str,
    ) -> Result<Option<u32>, Error> {
        let Some(range) = self.range() else { return Ok(None) };
        let key = uid_key(app, settings_place);
        let Some(record) = catalog.get(&key).await? else {
            let why = format!("{settings_place} of {app} has no user id yet: a push to it assigns one");
            return Err(Error::User(why));
        };
        let UidRecord { number, .. } = records::read(&key, &record)?;
        self.id(number).map(Some).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            let why = format!(
                "{settings_place} of {app} has the user id number {number}, and the range {first}-{last} ends before it: make `runner.uids` larger"
            );
            Error::User(why)
        })
    }

    /// Returns every environment, and the previews of each app, with its user.
    pub(super) async fn all(&self, catalog: &dyn Catalog) -> Result<Vec<PlaceUser>, Error> {
        let mut all = Vec::new();
        for (key, record) in catalog.list(UIDS_PREFIX, None, false, usize::MAX).await? {
            let place = key.strip_prefix(UIDS_PREFIX).and_then(|rest| rest.split_once('/'));
            let Some((Ok(app), place)) = place.map(|(app, place)| (app.parse(), place)) else { continue };
            let record: UidRecord = match records::read(&key, &record) {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(%app, place, %error, "the record of a user id is damaged: its backend does not run");
                    continue;
                }
            };
            let Some(uid) = self.id(record.number) else { continue };
            let earlier = self.ids().map_or_else(Vec::new, |ids| ids.before(&record, place == PREVIEW));
            all.push(PlaceUser { app, place: place.to_owned(), uid, earlier });
        }
        Ok(all)
    }

    /// Checks that the users of apps can reach `folder`.
    pub(super) fn can_reach(&self, folder: &Path) -> Result<(), Error> {
        if self.are_there() { check_passable(folder) } else { Ok(()) }
    }
}

/// Checks that every user can reach `folder`.
///
/// # Errors
/// [`Error::Folder`] names an impassable parent folder.
pub(super) fn check_passable(folder: &Path) -> Result<(), Error> {
    let closed = folder.ancestors().find(|parent| {
        let found = std::fs::metadata(parent);
        found.is_ok_and(|found| found.permissions().mode() & 0o001 == 0)
    });
    match closed.map(Path::display) {
        None => Ok(()),
        Some(closed) => Err(Error::Folder(format!(
            "the users of apps cannot pass {closed} on their way to {}: allow it by `chmod o+x {closed}`, or choose another [runner] folder",
            folder.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: Range, earlier: &[Range]) -> Ids {
        Ids { range, earlier: earlier.to_vec(), claim: Arc::default() }
    }

    #[test]
    fn a_number_is_an_id_of_the_range_or_none() {
        let users = Users::Given(ids(3_000..=3_002, &[]));
        assert_eq!((users.id(0), users.id(2), users.id(3), users.id(u32::MAX)), (Some(3_000), Some(3_002), None, None));
        assert_eq!((users.count(), Users::Same.count(), Users::Same.id(0)), (3, u32::MAX, None));
    }

    #[test]
    fn the_ids_that_a_place_had_are_those_of_its_number_and_of_its_pair() {
        let ids = ids(3_000..=3_099, &[2_000..=2_009, 200_000..=265_535]);
        let of = |number, pair, is_preview| ids.before(&UidRecord { number, pair }, is_preview);
        assert_eq!(of(4, None, false), [2_004, 200_004]);
        assert_eq!(of(40, None, true), [200_040]);
        assert_eq!(of(4, Some(2), true), [2_004, 200_004, 3_005, 2_005, 200_005]);
        assert_eq!(of(14, Some(2), false), [200_014, 3_004, 2_004, 200_004]);
    }

    #[test]
    fn users_need_root_or_a_spawner() {
        let plain = edge_toml::Runner::default();
        assert_eq!(Source::new(&plain, true).unwrap(), Source::Itself);
        assert_eq!(Source::new(&plain, false).unwrap(), Source::Nowhere);
        let lent = edge_toml::Runner { spawner: Some("/run/s".into()), ..plain.clone() };
        assert_eq!(Source::new(&lent, false).unwrap(), Source::Spawner);
        let named = edge_toml::Runner { uids: Some("3000-3009".parse().unwrap()), ..plain };
        assert_eq!(Source::new(&named, true).unwrap(), Source::Itself);
        assert!(Source::new(&named, false).unwrap_err().to_string().contains("root"));
    }

    #[test]
    fn the_data_folder_remembers_the_range_and_those_before() {
        let folder = tempfile::tempdir().unwrap();
        let lent = |range: Range, wanted: Option<&str>| {
            let wanted = wanted.map(|wanted| wanted.parse().unwrap());
            Ids::lent(folder.path(), &range, wanted.as_ref())
        };
        let first = lent(3_000..=3_099, None).unwrap();
        assert_eq!((&first.range, first.earlier.as_slice()), (&(3_000..=3_099), [EARLIER_DEFAULT].as_slice()));
        let second = lent(4_000..=4_099, Some("4010-4019")).unwrap();
        assert_eq!(
            (&second.range, second.earlier.as_slice()),
            (&(4_010..=4_019), [EARLIER_DEFAULT, 3_000..=3_099].as_slice())
        );
        assert_eq!(lent(4_000..=4_099, Some("4010-4019")).unwrap().earlier, second.earlier);
        assert!(lent(4_000..=4_099, Some("4090-4100")).unwrap_err().to_string().contains("4000-4099"));
    }

    #[test]
    fn a_folder_that_no_app_can_come_to_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let closed = folder.path().join("closed");
        durable::make_folder(&closed).unwrap();
        let given = Users::Given(ids(3_000..=3_001, &[]));
        let error = given.can_reach(&closed).unwrap_err().to_string();
        assert!(error.contains("chmod o+x"), "{error}");
        assert!(Users::Same.can_reach(&closed).is_ok());
        assert!(given.can_reach(Path::new("/usr/bin")).is_ok());
    }
}
