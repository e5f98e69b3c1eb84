//! Leases: records that stay as long as their node.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_lease_stay_while_it_is_held_and_vanish_when_it_ends() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start_secure(3);
    let (a, b) = (Node::start(&cluster, "a").await, Node::start(&cluster, "b").await);
    // Longer than an election takes.
    let ttl = Duration::from_secs(4);
    let lease = a.catalog.lease(ttl).await.unwrap();
    let leased = Commit { checks: vec![], changes: vec![put("nodes/a", "1")] };
    let revision = a.catalog.commit_leased(leased, &lease).await.unwrap();
    assert!(b.catalog.wait_for(revision, TIME_MAX).await);
    tokio::time::sleep(ttl + ttl / 4).await;
    assert_eq!(value(&*b.catalog, "nodes/a").await.as_deref(), Some("1"));
    // Even without the member that renewed the lease.
    cluster.kill(cluster.leader());
    tokio::time::sleep(ttl + ttl / 4).await;
    assert!(!lease.is_lost());
    assert_eq!(value(&*b.catalog, "nodes/a").await.as_deref(), Some("1"));

    lease.end().await;
    eventually("it vanishes", async || value(&*b.catalog, "nodes/a").await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_node_that_is_cut_off_vanish_and_it_knows_that_its_lease_is_lost() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let cable = support::Cable::lay(cluster.address(0));
    let endpoints = vec![format!("http://{}", cable.address)];
    let a = Node::start_with(EtcdSettings { endpoints, ..settings(&cluster, "a") }).await;
    let b = Node::start(&cluster, "b").await;
    let lease = a.catalog.lease(Duration::from_secs(1)).await.unwrap();
    let leased = |key: &str| Commit { checks: vec![], changes: vec![put(key, "")] };
    let revision = a.catalog.commit_leased(leased("nodes/a"), &lease).await.unwrap();
    assert!(b.catalog.wait_for(revision, TIME_MAX).await);
    cable.cut();
    tokio::time::timeout(TIME_MAX, lease.lost()).await.unwrap();
    eventually("it vanishes", async || value(&*b.catalog, "nodes/a").await.is_none()).await;
    cable.repair();
    let refused = a.catalog.commit_leased(leased("nodes/a"), &lease).await;
    assert!(matches!(refused, Err(Error::LeaseLost)), "{refused:?}");
    eventually("its mirror follows", async || value(&*a.catalog, "nodes/a").await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_etcd_does_not_know_is_lost_and_its_commits_change_nothing() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let a = Node::start(&cluster, "a").await;
    let lease = a.catalog.lease(Duration::from_secs(60)).await.unwrap();
    cluster.admin(&["lease", "revoke", &format!("{:x}", lease.id)]);
    let leased = Commit { checks: vec![], changes: vec![put("nodes/a", "")] };
    let refused = a.catalog.commit_leased(leased, &lease).await;
    assert!(matches!(refused, Err(Error::LeaseLost)), "{refused:?}");
    assert!(stored(&cluster).is_empty());
    commit(&*a.catalog, &[], &[put("x", "1")]).await.unwrap();
}

#[tokio::test]
async fn a_lease_of_a_catalog_on_this_machine_is_never_lost() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = crate::catalog::open(&path_in(&folder)).unwrap();
    let lease = catalog.lease(Duration::from_secs(1)).await.unwrap();
    let leased = Commit { checks: vec![], changes: vec![put("nodes/a", "1")] };
    catalog.commit_leased(leased, &lease).await.unwrap();
    assert!(!lease.is_lost());
    lease.end().await;
    assert_eq!(value(&*catalog, "nodes/a").await.as_deref(), Some("1"));
}
