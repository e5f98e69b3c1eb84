//! The users that instances run as: one for each environment and one for the previews of an app, where the edge may use
//! others than its own.

use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use devanture_config::AppName;
use devanture_config::edge_toml::{self, RUNNER_UIDS};

use super::Error;
use super::folder::owners::PlaceUser;
use super::follow::PREVIEW;
use crate::catalog::instances::{UIDS_PREFIX, UidRecord, uid_key};
use crate::catalog::{Catalog, records};

/// How instances get their users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Users {
    /// They have the edge's own.
    Same,
    /// The edge is root, and gives files away itself.
    Given(RangeInclusive<u32>),
    /// A spawner with more privileges starts them; the edge gives nothing away.
    Lent(RangeInclusive<u32>),
}

impl Users {
    /// Those that `[runner]` says, for an edge that `is_root` or not.
    pub(super) fn new(settings: &edge_toml::Runner, is_root: bool) -> Result<Self, Error> {
        let said = settings.uids.as_ref().map(|uids| uids.0.clone());
        match (is_root, settings.spawner.is_some()) {
            (true, _) => Ok(Self::Given(said.unwrap_or(RUNNER_UIDS))),
            (false, true) => Ok(Self::Lent(said.unwrap_or(RUNNER_UIDS))),
            (false, false) if said.is_none() => Ok(Self::Same),
            (false, false) => {
                let why = "[runner] uids needs an edge that is root, or [runner] spawner: this edge cannot start a process as another user";
                Err(Error::User(why.to_owned()))
            }
        }
    }

    fn range(&self) -> Option<&RangeInclusive<u32>> {
        match self {
            Self::Same => None,
            Self::Given(range) | Self::Lent(range) => Some(range),
        }
    }

    /// Whether environments have users of their own.
    pub(super) fn are_there(&self) -> bool {
        *self != Self::Same
    }

    /// How many ids there are.
    pub(super) fn count(&self) -> u32 {
        self.range().map_or(u32::MAX, |range| range.end().saturating_sub(*range.start()).saturating_add(1))
    }

    /// The id with that number; `None` where it is beyond the range.
    pub(super) fn id(&self, number: u32) -> Option<u32> {
        let range = self.range()?;
        range.start().checked_add(number).filter(|uid| range.contains(uid))
    }

    /// The user of an app where it has the settings of `settings_place`; `None` where it is the edge's own. Previews have
    /// another one than environments: what anybody may push as a preview neither reads nor signals what an environment
    /// has.
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

    /// Every environment, and the previews of each app, with its user.
    pub(super) async fn all(&self, catalog: &dyn Catalog) -> Result<Vec<PlaceUser>, Error> {
        let mut all = Vec::new();
        for (key, record) in catalog.list(UIDS_PREFIX, None, false, usize::MAX).await? {
            let place = key.strip_prefix(UIDS_PREFIX).and_then(|rest| rest.split_once('/'));
            let Some((Ok(app), place)) = place.map(|(app, place)| (app.parse(), place)) else { continue };
            let record: UidRecord = records::read(&key, &record)?;
            let Some(uid) = self.id(record.number) else { continue };
            // All environments of an app had the first id of its pair, and its previews had the second.
            let in_pair = u32::from(place == PREVIEW);
            let earlier = record.pair.and_then(|pair| self.id(pair.checked_mul(2)?.checked_add(in_pair)?));
            all.push(PlaceUser { app, place: place.to_owned(), uid, earlier: earlier.into_iter().collect() });
        }
        Ok(all)
    }

    /// Whether the users of apps can come to `folder`.
    pub(super) fn can_reach(&self, folder: &Path) -> Result<(), Error> {
        if !self.are_there() {
            return Ok(());
        }
        let closed = folder.ancestors().find(|parent| {
            let found = std::fs::metadata(parent);
            found.is_ok_and(|found| found.permissions().mode() & 0o001 == 0)
        });
        match closed {
            None => Ok(()),
            Some(closed) => {
                let closed = closed.display();
                Err(Error::Folder(format!(
                    "the users of apps cannot pass {closed} on their way to {}: allow it by `chmod o+x {closed}`, or choose another [runner] folder",
                    folder.display()
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_an_id_of_the_range_or_none() {
        let users = Users::Given(3_000..=3_002);
        assert_eq!((users.id(0), users.id(2), users.id(3), users.id(u32::MAX)), (Some(3_000), Some(3_002), None, None));
        assert_eq!((users.count(), Users::Same.count(), Users::Same.id(0)), (3, u32::MAX, None));
    }

    #[test]
    fn users_need_root_or_a_spawner() {
        let plain = edge_toml::Runner::default();
        assert_eq!(Users::new(&plain, true).unwrap(), Users::Given(RUNNER_UIDS));
        assert_eq!(Users::new(&plain, false).unwrap(), Users::Same);
        let lent = edge_toml::Runner { spawner: Some("/run/s".into()), ..plain.clone() };
        assert_eq!(Users::new(&lent, false).unwrap(), Users::Lent(RUNNER_UIDS));
        let said = edge_toml::Runner { uids: Some("3000-3009".parse().unwrap()), ..plain };
        assert_eq!(Users::new(&said, true).unwrap(), Users::Given(3_000..=3_009));
        assert!(Users::new(&said, false).unwrap_err().to_string().contains("root"));
    }

    #[test]
    fn a_folder_that_no_app_can_come_to_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let closed = folder.path().join("closed");
        crate::blobs::durable::make_folder(&closed).unwrap();
        let error = Users::Given(3_000..=3_001).can_reach(&closed).unwrap_err().to_string();
        assert!(error.contains("chmod o+x"), "{error}");
        assert!(Users::Same.can_reach(&closed).is_ok());
        assert!(Users::Given(3_000..=3_001).can_reach(Path::new("/usr/bin")).is_ok());
    }
}
