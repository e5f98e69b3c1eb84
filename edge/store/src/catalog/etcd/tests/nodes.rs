//! Several nodes over one cluster: all nodes see the commits of each; one node that changes hands.

use super::*;
use crate::catalog::Committed;
use tokio::sync::broadcast::Receiver;

/// The next commits of a watch, until the record `until` is put.
async fn seen(watch: &mut Receiver<Committed>, until: &str) -> Vec<Committed> {
    let mut seen = Vec::new();
    loop {
        let committed = tokio::time::timeout(TIME_MAX, watch.recv()).await.unwrap().unwrap();
        let is_last = committed.changes.iter().any(|change| matches!(change, Change::Put(key, _) if key == until));
        seen.push(committed);
        if is_last {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_see_the_commits_of_each_other_in_one_order() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(3, &[]);
    let (a, b) = (Node::start(&cluster, "a").await, Node::start(&cluster, "b").await);
    let mut watches = [a.catalog.watch(), b.catalog.watch()];
    let commits = [&a, &b].map(|node| {
        let catalog = Arc::clone(&node.catalog);
        tokio::spawn(async move {
            for number in 0..20 {
                let changes = [put("last", &number.to_string()), put(&format!("n/{number}"), ""), put("gone", "")];
                commit(&*catalog, &[], &changes).await.unwrap();
                commit(&*catalog, &[], &[Change::Delete("gone".to_owned())]).await.unwrap();
            }
        })
    });
    for task in commits {
        task.await.unwrap();
    }
    commit(&*a.catalog, &[], &[put("end", "")]).await.unwrap();
    let [of_a, of_b] = [seen(&mut watches[0], "end").await, seen(&mut watches[1], "end").await];
    assert_eq!(of_a, of_b);
    assert!(of_a.is_sorted_by(|one, next| one.revision < next.revision));
    // Each of the 81 commits, whole.
    assert_eq!(of_a.len(), 81);
    assert!(of_a.iter().all(|committed| matches!(committed.changes.len(), 0 | 1 | 3)));
    b.catalog.refresh().await.unwrap();
    assert_eq!(mirrored(&*a.catalog).await, mirrored(&*b.catalog).await);
    assert_eq!(mirrored(&*a.catalog).await, stored(&cluster));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_anywhere_is_read_after_a_refresh() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let (a, b) = (Node::start(&cluster, "a").await, Node::start(&cluster, "b").await);
    for number in 0..50 {
        let revision = commit(&*a.catalog, &[], &[put("n", &number.to_string())]).await.unwrap();
        // The node sees its own commit at once.
        assert_eq!(a.catalog.get("n").await.unwrap().unwrap().revision, revision);
        if number % 2 == 0 {
            assert!(b.catalog.refresh().await.unwrap() >= revision);
        } else {
            assert!(b.catalog.wait_for(revision, TIME_MAX).await);
        }
        assert_eq!(value(&*b.catalog, "n").await, Some(number.to_string()));
    }
    assert!(!b.catalog.wait_for(u64::MAX, Duration::from_millis(1)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_conflict_the_caller_reads_what_it_lost_against() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let (a, b) = (Node::start(&cluster, "a").await, Node::start(&cluster, "b").await);
    for number in 0..50 {
        let key = format!("n/{number}");
        let checks = [Check::Absent(key.clone())];
        let (of_a, of_b) = (&[put(&key, "a")], &[put(&key, "b")]);
        let (one, two) = tokio::join!(commit(&*a.catalog, &checks, of_a), commit(&*b.catalog, &checks, of_b));
        let (loser, winner) = if one.is_ok() { (&b, "a") } else { (&a, "b") };
        assert!(one.is_ok() != two.is_ok());
        assert_eq!(value(&*loser.catalog, &key).await.as_deref(), Some(winner));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_changes_hands_while_others_commit() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let other = Node::start(&cluster, "b").await;
    let old = Node::start(&cluster, "a").await;
    let path = path_in(&old.folder);
    commit(&*old.catalog, &[], &[put("by/old", "")]).await.unwrap();
    let mut watch = old.catalog.watch();
    old.catalog.hand_over().await.unwrap();
    assert!(matches!(commit(&*old.catalog, &[], &[]).await, Err(Error::HandedOver)));

    let new = open_again(&path, &settings(&cluster, "a")).await.unwrap();
    commit(&*other.catalog, &[], &[put("by/other", "")]).await.unwrap();
    let mut of_new = new.watch();
    let revision = commit(&new, &[], &[put("by/new", "")]).await.unwrap();
    let committed = seen(&mut of_new, "by/new").await.pop().unwrap();
    old.catalog.follow(committed).await.unwrap();
    assert!(old.catalog.state().revision >= revision);
    assert_eq!(mirrored(&*old.catalog).await, stored(&cluster));
    assert!(matches!(old.catalog.take_back().await, Err(Error::Locked { .. })));
    drop(new);

    eventually("the old process has the mirror again", async || old.catalog.take_back().await.is_ok()).await;
    commit(&*other.catalog, &[], &[put("by/other", "2")]).await.unwrap();
    commit(&*old.catalog, &[], &[put("end", "")]).await.unwrap();
    let keys: Vec<_> = seen(&mut watch, "end")
        .await
        .iter()
        .flat_map(|committed| committed.changes.to_vec())
        .map(|change| match change {
            Change::Put(key, _) | Change::Delete(key) => key,
        })
        .collect();
    assert_eq!(keys, ["by/other", "by/new", "by/other", "end"]);
    assert_eq!(mirrored(&*old.catalog).await, stored(&cluster));
}
