//! Members that die, stop, are full or forget; commits that are too large.

use super::*;
use tokio::task::JoinSet;

/// Increments one record `times` times by compare-and-swap; returns the revisions of the commits. A refused commit is
/// repeated; an unknown outcome fails the test.
async fn increment(catalog: Arc<EtcdCatalog>, times: usize) -> Vec<Revision> {
    let mut made = Vec::new();
    while made.len() < times {
        let record = catalog.get("n").await.unwrap().unwrap();
        let number: u64 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
        let changes = [put("n", &(number + 1).to_string()), put(&format!("by/{number:06}"), "")];
        match commit(&*catalog, &[Check::At("n".to_owned(), record.revision)], &changes).await {
            Ok(revision) => made.push(revision),
            Err(Error::Conflict { .. } | Error::Unavailable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    made
}

/// Commits, again and again while etcd is not available.
async fn commit_at_last(catalog: &dyn Catalog, changes: &[Change]) -> Revision {
    let began = Instant::now();
    loop {
        match commit(catalog, &[], changes).await {
            Err(Error::Unavailable { .. }) if began.elapsed() < TIME_MAX => {}
            made => return made.unwrap(),
        }
    }
}

/// Increments by several callers on each node, while `fault` happens.
async fn increments_survive(cluster: &Cluster, fault: impl AsyncFnOnce()) {
    const TIMES: usize = 25;
    let nodes = [Node::start(cluster, "a").await, Node::start(cluster, "b").await];
    commit(&*nodes[0].catalog, &[], &[put("n", "0")]).await.unwrap();
    nodes[1].catalog.refresh().await.unwrap();
    let mut tasks = JoinSet::new();
    for node in &nodes {
        for _ in 0..2 {
            tasks.spawn(increment(Arc::clone(&node.catalog), TIMES));
        }
    }
    eventually("some are done", async || value(&*nodes[0].catalog, "n").await.unwrap().len() > 1).await;
    fault().await;
    let mut revisions: Vec<_> = tasks.join_all().await.concat();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 4 * TIMES);
    for node in &nodes {
        node.catalog.refresh().await.unwrap();
        assert_eq!(value(&*node.catalog, "n").await, Some((4 * TIMES).to_string()));
        assert_eq!(node.catalog.list("by/", None, false, usize::MAX).await.unwrap().len(), 4 * TIMES);
        assert_eq!(mirrored(&*node.catalog).await, stored(cluster));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_leader_loses_no_commit_and_doubles_none() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start_secure(3);
    increments_survive(&cluster, async || {
        let leader = cluster.leader();
        cluster.kill(leader);
        cluster.leader();
        cluster.restart(leader);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_and_goes_on_later_loses_no_commit_and_doubles_none() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(3, &[]);
    increments_survive(&cluster, async || {
        let leader = cluster.leader();
        cluster.stop(leader);
        // Longer than any request waits, so that some are repeated while the first ones are still on their way.
        tokio::time::sleep(Duration::from_secs(6)).await;
        cluster.resume(leader);
    })
    .await;
    cluster.wait_until_healthy();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stops_is_left_for_another() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(3, &[]);
    let node = Node::start(&cluster, "a").await;
    let mut made = Vec::new();
    for number in 0..3 {
        // The connected member is among the stopped ones.
        cluster.stop(number);
        let key = format!("n/{number}");
        made.push((key.clone(), commit_at_last(&*node.catalog, &[put(&key, "")]).await));
        cluster.resume(number);
        cluster.wait_until_healthy();
    }
    assert!(node.catalog.state().reconnects > 0);
    node.catalog.refresh().await.unwrap();
    // A request resumed by a stopped member would have changed the record a second time.
    for (key, revision) in made {
        assert_eq!(node.catalog.get(&key).await.unwrap().unwrap().revision, revision, "{key}");
    }
    assert_eq!(mirrored(&*node.catalog).await, stored(&cluster));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_during_commits_leaves_the_outcome_of_each_certain() {
    const CUTS: usize = 12;
    const COMMITS: usize = 8;
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let cable = support::Cable::lay(cluster.address(0));
    let endpoints = vec![format!("http://{}", cable.address)];
    let node = Node::start_with(EtcdSettings { endpoints, ..settings(&cluster, "a") }).await;
    let mut outcomes = Vec::new();
    for cut in 0..CUTS {
        let mut commits = JoinSet::new();
        for number in 0..COMMITS {
            let (catalog, key) = (Arc::clone(&node.catalog), format!("{cut:02}/{number}"));
            // A commit made a second time would conflict with itself.
            let checks = [Check::Absent(key.clone())];
            commits.spawn(async move { (commit(&*catalog, &checks, &[put(&key, "")]).await, key) });
        }
        // Somewhere in the middle, at a different moment each time.
        tokio::time::sleep(Duration::from_micros(700 * u64::try_from(cut).unwrap())).await;
        cable.cut();
        cable.repair();
        outcomes.extend(commits.join_all().await);
    }
    node.catalog.refresh().await.unwrap();
    let found = stored(&cluster);
    assert_eq!(mirrored(&*node.catalog).await, found);
    for (outcome, key) in outcomes {
        let at = found.iter().find(|(stored, ..)| *stored == key).map(|(.., revision)| *revision);
        match outcome {
            Ok(revision) => assert_eq!(at, Some(revision), "{key}"),
            Err(Error::Unavailable { .. }) => assert_eq!(at, None, "{key}"),
            Err(other) => panic!("{key}: {other}"),
        }
    }
    assert!(node.catalog.state().reconnects > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_commits_are_refused_and_reads_go_on() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(3, &[]);
    let node = Node::start(&cluster, "a").await;
    commit(&*node.catalog, &[], &[put("x", "1")]).await.unwrap();
    cluster.kill(0);
    cluster.kill(1);
    let refused = commit(&*node.catalog, &[], &[put("x", "2")]).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. } | Error::Undecided { .. })), "{refused:?}");
    assert_eq!(value(&*node.catalog, "x").await.as_deref(), Some("1"));
    eventually("it knows", async || !node.catalog.state().is_connected).await;
    cluster.restart(0);
    cluster.restart(1);
    cluster.wait_until_healthy();
    commit_at_last(&*node.catalog, &[put("x", "3")]).await;
    assert_eq!(mirrored(&*node.catalog).await, stored(&cluster));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_while_a_node_is_cut_off_loses_no_change() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let cable = support::Cable::lay(cluster.address(0));
    let endpoints = vec![format!("http://{}", cable.address)];
    let cut_off = Node::start_with(EtcdSettings { endpoints, ..settings(&cluster, "a") }).await;
    let other = Node::start(&cluster, "b").await;
    // More than a page, also in bytes.
    let large = "x".repeat(40_000);
    for first in (0..1_200).step_by(30) {
        let changes: Vec<_> = (first..first + 30).map(|number| put(&format!("n/{number:04}"), &large)).collect();
        commit(&*other.catalog, &[], &changes).await.unwrap();
    }
    commit(&*cut_off.catalog, &[], &[put("gone", ""), put("changed", "1")]).await.unwrap();
    let before = cut_off.catalog.state().revision;
    let mut watch = cut_off.catalog.watch();
    cable.cut();
    commit(&*other.catalog, &[], &[Change::Delete("gone".to_owned()), put("new", "")]).await.unwrap();
    let last = commit(&*other.catalog, &[], &[put("changed", "2"), put("n/0500", "changed")]).await.unwrap();
    cluster.compact(last);
    assert_eq!(cut_off.catalog.state().revision, before);
    cable.repair();
    assert!(cut_off.catalog.wait_for(last, TIME_MAX).await);
    assert_eq!(mirrored(&*cut_off.catalog).await, stored(&cluster));
    // Watchers receive the difference as one commit.
    let committed = watch.recv().await.unwrap();
    let mut changed: Vec<_> = committed
        .changes
        .iter()
        .map(|change| match change {
            Change::Put(key, _) => key.clone(),
            Change::Delete(key) => format!("-{key}"),
        })
        .collect();
    changed.sort();
    assert_eq!(changed, ["-gone", "changed", "n/0500", "new"]);
    commit(&*cut_off.catalog, &[], &[put("x", "1")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_etcd_with_an_earlier_state_is_followed_back() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let node = Node::start(&cluster, "a").await;
    commit(&*node.catalog, &[], &[put("x", "1")]).await.unwrap();
    cluster.back_up(0);
    let lost = commit(&*node.catalog, &[], &[put("x", "2"), put("y", "2")]).await.unwrap();
    cluster.kill(0);
    cluster.put_back(0);
    cluster.restart(0);
    eventually("it follows", async || node.catalog.state().revision < lost).await;
    assert_eq!(mirrored(&*node.catalog).await, stored(&cluster));
    let mut watch = node.catalog.watch();
    let revision = commit(&*node.catalog, &[], &[put("x", "3")]).await.unwrap();
    assert_eq!(watch.recv().await.unwrap().revision, revision);
    assert_eq!(mirrored(&*node.catalog).await, stored(&cluster));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_etcd_that_gave_revisions_a_second_time_is_no_continuation() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let node = Node::start(&cluster, "a").await;
    commit(&*node.catalog, &[], &[put("x", "1")]).await.unwrap();
    cluster.back_up(0);
    let lost = commit(&*node.catalog, &[], &[put("x", "2"), put("lost", "")]).await.unwrap();
    let folder = node.end();
    cluster.kill(0);
    cluster.put_back(0);
    cluster.restart(0);
    cluster.wait_until_healthy();
    let other = Node::start(&cluster, "b").await;
    let mut last = 0;
    while last <= lost {
        last = commit(&*other.catalog, &[], &[put("x", "3")]).await.unwrap();
    }
    let node = open_again(&path_in(&folder), &settings(&cluster, "a")).await.unwrap();
    eventually("it follows", async || mirrored(&node).await == stored(&cluster)).await;
    assert_eq!(value(&node, "lost").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_without_space_refuses_commits_until_it_has_some() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &["--quota-backend-bytes=2097152"]);
    let node = Node::start(&cluster, "a").await;
    let large = "x".repeat(200_000);
    let mut made = 0;
    let refused = loop {
        match commit(&*node.catalog, &[], &[put("large", &large), put("n", &made.to_string())]).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 100);
    };
    assert!(matches!(refused, Error::Quota), "{refused:?}");
    assert!(matches!(commit(&*node.catalog, &[], &[put("n", "no")]).await, Err(Error::Quota)));
    // A refused commit was not made.
    assert_eq!(value(&*node.catalog, "n").await, Some((made - 1).to_string()));
    assert_eq!(mirrored(&*node.catalog).await, stored(&cluster));
    cluster.compact(node.catalog.state().revision);
    cluster.admin(&["defrag"]);
    cluster.admin(&["alarm", "disarm"]);
    commit(&*node.catalog, &[], &[put("n", "again")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_as_large_as_etcd_takes_are_made_and_larger_ones_refused() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let node = Node::start(&cluster, "a").await;
    let most = super::super::transaction::COMMIT_OPERATIONS_MAX;
    let puts = |count: usize| (0..count).map(|number| put(&format!("n/{number:03}"), "1")).collect::<Vec<_>>();
    let absent = |count: usize| (0..count).map(|number| Check::Absent(format!("n/{number:03}"))).collect::<Vec<_>>();
    commit(&*node.catalog, &absent(most), &puts(most)).await.unwrap();
    let lost = commit(&*node.catalog, &absent(most), &puts(most)).await;
    assert!(matches!(&lost, Err(Error::Conflict { key }) if key == "n/000"), "{lost:?}");
    for refused in [
        commit(&*node.catalog, &[], &puts(most + 1)).await,
        commit(&*node.catalog, &[], &[put("large", &"x".repeat(1_572_864))]).await,
    ] {
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    }
    let largest = super::super::transaction::REQUEST_BYTES_MAX - 500;
    commit(&*node.catalog, &[], &[put("large", &"x".repeat(largest))]).await.unwrap();
    assert_eq!(mirrored(&*node.catalog).await, stored(&cluster));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_expired_is_renewed() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start_secure(1);
    let node = Node::start(&cluster, "a").await;
    commit(&*node.catalog, &[], &[put("x", "1")]).await.unwrap();
    // As at the end of their lifetime.
    cluster.end_tokens();
    node.catalog.refresh().await.unwrap();
    commit(&*node.catalog, &[], &[put("x", "2")]).await.unwrap();
    // Tokens are in memory: a restarted member knows none of them.
    cluster.kill(0);
    cluster.restart(0);
    cluster.wait_until_healthy();
    commit_at_last(&*node.catalog, &[put("x", "3")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_with_one_name_lose_and_double_nothing() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let nodes = [Node::start(&cluster, "same").await, Node::start(&cluster, "same").await];
    commit(&*nodes[0].catalog, &[], &[put("n", "0")]).await.unwrap();
    nodes[1].catalog.refresh().await.unwrap();
    let mut tasks = JoinSet::new();
    for node in &nodes {
        tasks.spawn(increment(Arc::clone(&node.catalog), 20));
    }
    tasks.join_all().await;
    nodes[0].catalog.refresh().await.unwrap();
    assert_eq!(value(&*nodes[0].catalog, "n").await.as_deref(), Some("40"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_a_whole_commit_and_the_next_one_its_turn() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(1, &[]);
    let node = Node::start(&cluster, "a").await;
    for number in 0..10 {
        let catalog = Arc::clone(&node.catalog);
        let key = format!("n/{number}");
        let task = tokio::spawn(async move { commit(&*catalog, &[], &[put(&key, ""), put("last", &key)]).await });
        tokio::task::yield_now().await;
        task.abort();
    }
    commit(&*node.catalog, &[], &[put("end", "")]).await.unwrap();
    // Started commits go on by themselves, even after this one.
    eventually("they end", async || mirrored(&*node.catalog).await == stored(&cluster)).await;
    commit(&*node.catalog, &[], &[put("end", "2")]).await.unwrap();
    let made = node.catalog.list("n/", None, false, 100).await.unwrap();
    let last = node.catalog.get("last").await.unwrap().map(|record| record.revision);
    assert_eq!(last, made.iter().map(|(_, record)| record.revision).max());
    assert_eq!(mirrored(&*node.catalog).await, stored(&cluster));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_were_replaced_count_from_the_next_connection_on() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start_secure(1);
    let settings = settings(&cluster, "a");
    let (tls, good) = (settings.tls.clone().unwrap(), cluster.tls().unwrap());
    let node = Node::start_with(settings).await;
    let trusting_nobody = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
    tls.store(Arc::new(trusting_nobody.with_no_client_auth()));
    commit(&*node.catalog, &[], &[put("by/the/open/connection", "")]).await.unwrap();
    cluster.kill(0);
    cluster.restart(0);
    cluster.wait_until_healthy();
    let refused = commit(&*node.catalog, &[], &[put("n", "")]).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    tls.store(good);
    commit_at_last(&*node.catalog, &[put("n", "")]).await;
}
