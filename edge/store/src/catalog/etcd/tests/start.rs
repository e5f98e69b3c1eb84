//! The start of a node: with etcd and without, over its own mirror or a wrong one, as the right user or a wrong one.

use devanture_config::api::Secret;

use super::*;
use crate::catalog::embedded::RedbCatalog;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_and_reads_without_etcd_and_catches_up_later() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let node = Node::start(&cluster, "a").await;
    let other = Node::start(&cluster, "b").await;
    let revision = commit(&*node.catalog, &[], &[put("x", "1")]).await.unwrap();
    let folder = node.end();
    commit(&*other.catalog, &[Check::At("x".to_owned(), revision)], &[put("x", "2")]).await.unwrap();
    cluster.kill(0);

    let settings = settings(&cluster, "a");
    let began = Instant::now();
    let catalog = open_again(&path_in(&folder), &settings).await.unwrap();
    assert!(began.elapsed() < TIME_MAX / 4);
    assert_eq!(value(&catalog, "x").await.as_deref(), Some("1"));
    assert!(!catalog.state().is_connected && catalog.state().revision >= revision);
    assert!(matches!(commit(&catalog, &[], &[put("x", "3")]).await, Err(Error::Unavailable { .. })));
    assert!(matches!(catalog.refresh().await, Err(Error::Unavailable { .. })));

    cluster.restart(0);
    eventually("it catches up", async || value(&catalog, "x").await.as_deref() == Some("2")).await;
    assert!(catalog.state().is_connected && catalog.state().age.is_some());
    commit(&catalog, &[], &[put("x", "3")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_says_what_is_missing() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start_secure(1);
    let folder = tempfile::tempdir().unwrap();
    let good = settings(&cluster, "a");
    let wrong_password = Some(("edge".to_owned(), Secret::new("no-word")));
    let elsewhere = EtcdSettings { prefix: "elsewhere/".to_owned(), ..good.clone() };
    for wrong in [
        EtcdSettings { credentials: wrong_password, ..good.clone() },
        EtcdSettings { credentials: None, ..good.clone() },
        elsewhere,
    ] {
        let opened = open_again(&path_in(&folder), &wrong).await;
        assert!(matches!(&opened, Err(Error::Denied { .. })), "{:?}", opened.err());
    }
    open_again(&path_in(&folder), &good).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_of_another_cluster_or_prefix_or_of_none_is_refused_and_stays_as_it_is() {
    if !is_installed() {
        return;
    }
    let (one, two) = (Cluster::start(1, &[]), Cluster::start(1, &[]));
    let node = Node::start(&one, "a").await;
    commit(&*node.catalog, &[], &[put("x", "1")]).await.unwrap();
    let folder = node.end();
    let path = path_in(&folder);
    for wrong in [settings(&two, "a"), EtcdSettings { prefix: "other/".to_owned(), ..settings(&one, "a") }] {
        let refused = open_again(&path, &wrong).await;
        assert!(matches!(&refused, Err(Error::OtherOrigin { .. })), "{:?}", refused.err());
    }
    assert_eq!(value(&open_again(&path, &settings(&one, "a")).await.unwrap(), "x").await.as_deref(), Some("1"));

    let own = tempfile::tempdir().unwrap();
    let catalog = RedbCatalog::open(&path_in(&own)).unwrap();
    commit(&catalog, &[], &[put("x", "1")]).await.unwrap();
    drop(catalog);
    let refused = open_again(&path_in(&own), &settings(&one, "a")).await;
    assert!(matches!(&refused, Err(Error::OtherOrigin { .. })), "{:?}", refused.err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_cluster_is_passed_over() {
    if !is_installed() {
        return;
    }
    let (one, two) = (Cluster::start(1, &[]), Cluster::start(1, &[]));
    let node = Node::start(&one, "a").await;
    let folder = node.end();
    let mixed = EtcdSettings { endpoints: [two.endpoints(), one.endpoints()].concat(), ..settings(&one, "a") };
    // The first round may meet only the wrong member, which is not enough to refuse the mirror.
    let catalog = open_again(&path_in(&folder), &mixed).await.unwrap();
    commit(&catalog, &[], &[put("x", "1")]).await.unwrap();
    assert_eq!(mirrored(&catalog).await, stored(&one));
    assert!(stored(&two).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_mirror_is_a_catalog_of_its_own() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let node = Node::start(&cluster, "a").await;
    let revision = commit(&*node.catalog, &[], &[put("x", "1"), put("left/out", "1")]).await.unwrap();
    let path = node.folder.path().join("copy.redb");
    assert_eq!(node.catalog.copy_to(&path, &["left/"]).await.unwrap(), revision);
    let copy = crate::catalog::open(&path).unwrap();
    assert_eq!(mirrored(&*copy).await, [("x".to_owned(), b"1".to_vec(), revision)]);
    assert!(commit(&*copy, &[], &[put("x", "2")]).await.unwrap() > revision);
}
