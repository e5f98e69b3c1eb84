//! Tests of archive leftovers: files count for the app until owned by the app or no longer stored.

use devanture_config::AppName;
use devanture_config::limits::Limits;
use devanture_config::problem::Code;
use serde_json::json;

use super::archives::{archive, push};
use super::collections::world::{World, content, digest, name, world, world_with};
use crate::archive::Count as _;
use crate::ledger::{Actor, Error};
use crate::publish::owned::StagedArchive;
use crate::retention::Uploads as _;

/// Length of each content.
fn each() -> u64 {
    content(1).len() as u64
}

/// Begins an archive for an app with a storage limit of `max` bytes.
async fn begin(world: &World, app: &AppName, max: u64) -> Result<StagedArchive, Error> {
    let uploads = &world.publisher.uploads;
    StagedArchive::begin((&uploads.owned, &uploads.leftovers), app, max).await
}

fn count(brought: &mut StagedArchive, number: u8) -> Result<(), Code> {
    brought.count(digest(number), each()).map_err(|Error(problem)| problem.code)
}

/// Fails an archive after the contents have arrived.
async fn fail(world: &World, app: &AppName, contents: &[u8]) {
    let mut brought = begin(world, app, u64::MAX).await.unwrap();
    for number in contents {
        count(&mut brought, *number).unwrap();
    }
}

/// Returns the bytes of leftovers of an app.
async fn left_over(world: &World, app: &AppName) -> u64 {
    // Any leftovers exceed a limit of one byte.
    match begin(world, app, 1).await {
        Ok(_brought) => 0,
        Err(Error(problem)) => {
            assert_eq!(problem.code, Code::StorageFull);
            problem.limit.as_ref().unwrap().used
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_in_archives_that_failed_counts_until_it_is_stored_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, blog, uploads) = (name(0), name(1), &world.publisher.uploads);
    fail(&world, &shop, &[1, 2]).await;
    fail(&world, &blog, &[3]).await;
    assert_eq!((left_over(&world, &shop).await, left_over(&world, &blog).await), (2 * each(), each()));
    uploads.forget_blobs(&[digest(1)]);
    assert_eq!((left_over(&world, &shop).await, left_over(&world, &blog).await), (each(), each()));
    uploads.forget_blobs(&[digest(2), digest(3)]);
    assert_eq!((left_over(&world, &shop).await, left_over(&world, &blog).await), (0, 0));
}

/// The next app of the same name has a new owner.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_what_came_in_archives_that_failed_does_not_count_for_the_next_app_of_that_name() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, blog) = (name(0), name(1));
    fail(&world, &shop, &[1]).await;
    fail(&world, &blog, &[2]).await;
    world.publisher.uploads.forget_former(&shop, u64::MAX).await;
    assert_eq!((left_over(&world, &shop).await, left_over(&world, &blog).await), (0, each()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_brings_as_many_new_bytes_as_fit_and_each_file_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, owned) = (name(0), &world.publisher.uploads.owned);
    fail(&world, &shop, &[1, 2]).await;
    // Content stored by the app since is owned by the app.
    owned.add(&shop, [(digest(1), each())].into_iter()).await.unwrap();
    assert_eq!(left_over(&world, &shop).await, each());
    let mut brought = begin(&world, &shop, 2 * each()).await.unwrap();
    let counted = [
        ("the app's own", 1, Ok(())),
        ("left over already", 2, Ok(())),
        ("the last that fits", 3, Ok(())),
        ("the same once more", 3, Ok(())),
        ("one too many", 4, Err(Code::StorageFull)),
    ];
    for (what, number, expected) in counted {
        assert_eq!(count(&mut brought, number), expected, "{what}");
    }
    drop(brought);
    assert_eq!(left_over(&world, &shop).await, 3 * each(), "that one lies there as well");
}

/// Otherwise each of the concurrent archives could bring the full limit.
#[tokio::test(flavor = "multi_thread")]
async fn law_11_archives_that_come_in_at_once_bring_no_more_together_than_one_may() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (shop, max) = (name(0), 2 * each());
    let mut first = begin(&world, &shop, max).await.unwrap();
    let mut second = begin(&world, &shop, max).await.unwrap();
    let mut of_another = begin(&world, &name(1), max).await.unwrap();
    assert_eq!((count(&mut first, 1), count(&mut second, 2)), (Ok(()), Ok(())));
    assert_eq!(count(&mut second, 1), Ok(()), "it is there already");
    assert_eq!(count(&mut first, 3), Err(Code::StorageFull));
    assert_eq!(count(&mut of_another, 3), Ok(()));
    // A pushed archive counts as stored, under a separate limit.
    second.taken();
    drop(first);
    assert_eq!(left_over(&world, &shop).await, each());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_archive_begins_once_as_much_is_left_over_as_the_app_may_store() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let shop = name(0);
    fail(&world, &shop, &[1, 2]).await;
    let begins = async |max: u64| begin(&world, &shop, max).await.map(drop).map_err(|Error(problem)| problem.code);
    assert_eq!(begins(2 * each()).await, Err(Code::StorageFull));
    assert_eq!(begins(2 * each() + 1).await, Ok(()));
    // Nothing is counted without a limit.
    let mut unlimited = begin(&world, &shop, 0).await.unwrap();
    assert_eq!(count(&mut unlimited, 3), Ok(()));
    drop(unlimited);
    assert_eq!(left_over(&world, &shop).await, 2 * each());
}

/// Otherwise deleting a version would not free the space of its archive.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_in_an_archive_that_was_pushed_is_never_left_over() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { stored_bytes_per_app_max: 9 * each(), ..Limits::default() };
    let world = world_with(folder.path(), 9, limits).await;
    let (shop, actor) = (name(0), Actor::local());
    let mut brought = begin(&world, &shop, 9 * each()).await.unwrap();
    count(&mut brought, 8).unwrap();
    brought.taken();
    assert_eq!(left_over(&world, &shop).await, 0);

    let purged = push(&world, &actor, "prod", archive(&[1]), json!({})).await.unwrap().version;
    world.push(&shop, &[2].into()).await.unwrap();
    // Another app holds the same bytes, so the files stay stored.
    world.push(&name(1), &[1].into()).await.unwrap();
    world.publisher.retention().purge_version(&actor, &shop, &purged.to_string(), false).await.unwrap();
    world.publisher.uploads.owned.forget_all();
    assert_eq!(left_over(&world, &shop).await, 0);
}
