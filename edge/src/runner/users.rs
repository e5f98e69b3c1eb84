//! The users that instances run as: one for each app and one for its previews, where the edge may have others than its
//! own.

use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use devanture_config::AppName;
use devanture_config::edge_toml::{self, RUNNER_UIDS};

use super::Error;
use super::follow::PREVIEW;
use crate::catalog::instances::{UidRecord, uid_key};
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

    /// Whether apps have users of their own.
    pub(super) fn are_there(&self) -> bool {
        *self != Self::Same
    }

    /// The user of an app where it has the settings of `settings_place`; nothing where it is the edge's own. Previews have
    /// another than environments: what anybody may push as one does not read what production has, nor act on it.
    pub(super) async fn of(
        &self,
        catalog: &dyn Catalog,
        app: &AppName,
        settings_place: &str,
    ) -> Result<Option<u32>, Error> {
        let Some(range) = self.range() else { return Ok(None) };
        let key = uid_key(app);
        let Some(record) = catalog.get(&key).await? else {
            return Err(Error::User(format!("the app {app} has no user id yet: it is given one by a push")));
        };
        let record: UidRecord = records::read(&key, &record)?;
        uid_in(range, record.number, settings_place == PREVIEW).map(Some).ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            Error::User(format!(
                "the app {app} has the pair of user ids number {}, and [runner] uids are {first}-{last}",
                record.number
            ))
        })
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

/// The user id of the app with that number, each of which has two: its own, and that of its previews.
fn uid_in(range: &RangeInclusive<u32>, number: u32, is_preview: bool) -> Option<u32> {
    let offset = number.checked_mul(2)?.checked_add(u32::from(is_preview))?;
    range.start().checked_add(offset).filter(|uid| range.contains(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_have_users_apart_from_those_of_environments() {
        let range = 3_000..=3_004;
        let of = |number| (uid_in(&range, number, false), uid_in(&range, number, true));
        assert_eq!(of(0), (Some(3_000), Some(3_001)));
        assert_eq!(of(1), (Some(3_002), Some(3_003)));
        assert_eq!(of(2), (Some(3_004), None));
        assert_eq!((of(3), of(u32::MAX)), ((None, None), (None, None)));
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
