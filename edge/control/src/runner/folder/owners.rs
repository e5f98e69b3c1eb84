//! Transfers persistent folders to the present users of their environments, after a change of the id range, or from
//! earlier versions of the edge with one user per app.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{OF_PREVIEWS, PASSED, blocking, entries, name_of};
use crate::runner::Error;
use crate::runner::place_user::{PREVIEW, PlaceUser};
use devanture_base::durable::{self, Owner};

/// Transfers the folders of each environment from an earlier to the present user. No instance may be running.
///
/// # Errors
/// The first failure; all other folders are still transferred.
pub(in crate::runner) async fn settle(root: &Path, users: Vec<PlaceUser>) -> Result<(), Error> {
    let (data, snapshots) = (root.join("data"), root.join("snapshots"));
    blocking(move || {
        let mut failed = None;
        for user in users.iter().filter(|user| user.place == PREVIEW) {
            failed = separate_previews(&data, user, &users).err().or(failed);
        }
        for user in &users {
            let of_app = data.join(user.app.as_str());
            let folders = match user.place == PREVIEW {
                true => entries(&data.join(format!("{}{OF_PREVIEWS}", user.app))),
                false => vec![of_app.join(&user.place), snapshots.join(user.app.as_str()).join(&user.place)],
            };
            for folder in folders {
                failed = give(&folder, user).err().or(failed);
            }
        }
        failed.map_or(Ok(()), Err)
    })
    .await
}

/// Moves data of previews out of the folder of environment data, shared by earlier versions of the edge.
fn separate_previews(data: &Path, previews: &PlaceUser, users: &[PlaceUser]) -> Result<(), Error> {
    let of_app = data.join(previews.app.as_str());
    let environments = users.iter().filter(|user| user.app == previews.app && user.place != PREVIEW);
    let environments: HashSet<&str> = environments.map(|user| user.place.as_str()).collect();
    let is_of_preview = |folder: &PathBuf| {
        let owner = std::fs::symlink_metadata(folder).map(|found| found.uid());
        owner.is_ok_and(|owner| owner == previews.uid || previews.earlier.contains(&owner))
    };
    let found = entries(&of_app).into_iter().filter(|folder| !environments.contains(name_of(folder)));
    for folder in found.filter(is_of_preview) {
        let to = data.join(format!("{}{OF_PREVIEWS}", previews.app));
        durable::make_folder_as(&to, PASSED, Owner::default())?;
        durable::move_folder(&folder, &to.join(name_of(&folder)))?;
    }
    Ok(())
}

/// Transfers a folder to its user, if owned by an earlier user.
fn give(folder: &Path, user: &PlaceUser) -> Result<(), Error> {
    let Ok(found) = std::fs::symlink_metadata(folder) else { return Ok(()) };
    if found.uid() == user.uid || !user.earlier.contains(&found.uid()) {
        return Ok(());
    }
    let left = durable::reown(folder, found.uid(), user.uid)?;
    let (folder, from, to) = (folder.display(), found.uid(), user.uid);
    tracing::info!(%folder, from, to, left, "a folder that stays was given to the user of its environment");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::chown;

    #[tokio::test]
    async fn folders_that_stay_come_to_the_users_of_their_environments() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give files away");
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let folder = |name: &str, owner: u32| {
            let path = data.join(name);
            durable::make_folder(&path).unwrap();
            chown(&path, Some(owner), Some(owner)).unwrap();
        };
        let owner = |name: &str| std::fs::symlink_metadata(data.join(name)).map(|found| found.uid()).ok();
        // As laid out by an earlier version: environments as 2000, previews as 2001, including an alias.
        for (name, uid) in [("shop/prod", 2_000), ("shop/staging", 2_000), ("shop/next", 2_001), ("shop/lost", 9_999)] {
            folder(name, uid);
        }
        folder("game/prod", 9_999);
        let user = |app: &str, place: &str, uid, earlier: &[u32]| PlaceUser {
            app: app.parse().unwrap(),
            place: place.to_owned(),
            uid,
            earlier: earlier.to_vec(),
        };
        let users = vec![
            user("shop", "prod", 3_000, &[2_000]),
            user("shop", "staging", 3_002, &[2_000]),
            user("shop", "gone", 3_003, &[2_000]),
            user("shop", PREVIEW, 3_001, &[2_001]),
            user("game", "prod", 3_004, &[2_000]),
        ];
        for _ in 0..2 {
            settle(root.path(), users.clone()).await.unwrap();
            assert_eq!((owner("shop/prod"), owner("shop/staging")), (Some(3_000), Some(3_002)));
            assert_eq!((owner("shop/next"), owner("shop--preview/next")), (None, Some(3_001)));
            // Owned by no known user.
            assert_eq!((owner("shop/lost"), owner("game/prod")), (Some(9_999), Some(9_999)));
        }
    }
}
