//! A recorded history of commits and reads by several nodes matches that of a single catalog, even across the death of
//! a leader.
//!
//! The checker is that of Wing and Gong with Lowe's memory of states ("Testing for linearizability", 2017), for
//! registers with compare-and-swap. Keys are independent of each other, so that each is checked separately.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::*;

/// The content of a register: a number written only once, 0 before the first write.
type Value = u64;

#[derive(Debug, Clone, Copy)]
enum Operation {
    Read(Value),
    /// Wrote `new` in place of `expected`.
    Swap {
        expected: Value,
        new: Value,
    },
    /// Found a different value.
    Refused(Value),
    /// May have written `new` in place of `expected`, then or at any later moment.
    Unknown {
        expected: Value,
        new: Value,
    },
}

#[derive(Debug, Clone, Copy)]
struct Call {
    began: Instant,
    /// `None` for a call that never ended.
    ended: Option<Instant>,
    operation: Operation,
}

/// Returns the register after an operation; `None` if the operation cannot come next.
fn step(value: Value, operation: Operation) -> Option<Value> {
    match operation {
        Operation::Read(read) => (read == value).then_some(value),
        Operation::Swap { expected, new } | Operation::Unknown { expected, new } => (expected == value).then_some(new),
        Operation::Refused(expected) => (expected != value).then_some(value),
    }
}

/// Calls that have taken effect, and the register then.
type Position = (Vec<u64>, Value);

/// Returns true if there is an order of the calls, each between its start and its end, that one register can have had.
fn is_linearizable(mut calls: Vec<Call>) -> bool {
    calls.sort_by_key(|call| call.began);
    let needed = calls.iter().filter(|call| call.ended.is_some()).count();
    let has = |taken: &[u64], index: usize| taken[index / 64] & (1 << (index % 64)) != 0;
    let start: Position = (vec![0; calls.len().div_ceil(64)], 0);
    let mut met = HashSet::from([start.clone()]);
    let mut open = vec![(start, 0)];
    while let Some(((taken, value), done)) = open.pop() {
        if done == needed {
            return true;
        }
        // Only a call that began before the first end of the remaining calls can be the next one.
        let left = || calls.iter().enumerate().filter(|(index, _)| !has(&taken, *index));
        let first_end = left().filter_map(|(_, call)| call.ended).min();
        for (index, call) in left() {
            if first_end.is_some_and(|end| call.began > end) {
                break;
            }
            let Some(after) = step(value, call.operation) else { continue };
            let mut taken = taken.clone();
            taken[index / 64] |= 1 << (index % 64);
            let position = (taken, after);
            if met.insert(position.clone()) {
                open.push((position, done + usize::from(call.ended.is_some())));
            }
        }
    }
    false
}

#[test]
fn the_checker_knows_what_one_register_can_do() {
    let zero = Instant::now();
    let at = |ms: u64| zero + Duration::from_millis(ms);
    let call = |began, ended: u64, operation| Call { began: at(began), ended: Some(at(ended)), operation };
    let swap = |expected, new| Operation::Swap { expected, new };
    let (one, two) = (call(0, 10, swap(0, 1)), call(20, 30, swap(1, 2)));
    assert!(is_linearizable(vec![]));
    assert!(is_linearizable(vec![one, two, call(40, 50, Operation::Read(2))]));
    // During the write, either value is right; after the write, only the new one.
    assert!(is_linearizable(vec![one, two, call(25, 35, Operation::Read(1))]));
    assert!(!is_linearizable(vec![one, two, call(40, 50, Operation::Read(1))]));
    // An early read of the new value, and a later read of the old value.
    let reads = [call(21, 23, Operation::Read(2)), call(24, 26, Operation::Read(1))];
    assert!(!is_linearizable([&[one, two], &reads[..]].concat()));
    // Two winning writes.
    assert!(!is_linearizable(vec![one, call(0, 10, swap(0, 3))]));
    assert!(is_linearizable(vec![one, call(0, 10, Operation::Refused(0))]));
    assert!(!is_linearizable(vec![one, call(20, 30, Operation::Refused(1))]));
    // A call of unknown outcome may take effect or not, and late.
    let unknown = Call { began: at(15), ended: None, operation: Operation::Unknown { expected: 1, new: 3 } };
    assert!(is_linearizable(vec![one, unknown, call(40, 50, Operation::Read(1)), call(60, 70, Operation::Read(3))]));
    assert!(!is_linearizable(vec![one, unknown, call(40, 50, Operation::Read(3)), call(60, 70, Operation::Read(1))]));
    // A lost write.
    assert!(!is_linearizable(vec![one, call(20, 30, swap(0, 2))]));
}

/// The calls of all clients, by key.
#[derive(Default)]
struct History {
    calls: Mutex<BTreeMap<String, Vec<Call>>>,
    count: AtomicUsize,
    next_value: AtomicUsize,
}

impl History {
    fn record(&self, key: &str, began: Instant, operation: Operation) {
        let ended = (!matches!(operation, Operation::Unknown { .. })).then(Instant::now);
        let call = Call { began, ended, operation };
        self.calls.lock().unwrap().entry(key.to_owned()).or_default().push(call);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn read(catalog: &dyn Catalog, key: &str) -> (Value, Option<Revision>) {
    match catalog.get(key).await.unwrap() {
        Some(record) => (std::str::from_utf8(&record.value).unwrap().parse().unwrap(), Some(record.revision)),
        None => (0, None),
    }
}

/// Reads and swaps at random, up to a total number of calls of all clients.
async fn client(catalog: Arc<EtcdCatalog>, history: Arc<History>, calls: usize, mut random: StdRng) {
    while history.count.load(Ordering::Relaxed) < calls {
        let key = format!("k/{}", random.random_range(0..5));
        let began = Instant::now();
        if random.random_bool(0.5) {
            // A read without a refresh proves nothing.
            if catalog.refresh().await.is_ok() {
                history.record(&key, began, Operation::Read(read(&*catalog, &key).await.0));
            }
            continue;
        }
        let (expected, revision) = read(&*catalog, &key).await;
        let new = history.next_value.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        match commit(&*catalog, &[Check::of(&key, revision)], &[put(&key, &new.to_string())]).await {
            Ok(_) => history.record(&key, began, Operation::Swap { expected, new }),
            Err(Error::Conflict { .. }) => history.record(&key, began, Operation::Refused(expected)),
            Err(Error::Undecided { .. }) => history.record(&key, began, Operation::Unknown { expected, new }),
            // No record was changed, which a read of `new` would disprove.
            Err(Error::Unavailable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_commits_and_refreshed_reads_is_linearizable() {
    const CALLS: usize = 4_000;
    if !is_installed() {
        return;
    }
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = Cluster::start(3, &[]);
    let history = Arc::new(History::default());
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(Node::start(&cluster, name).await);
    }
    let mut clients = JoinSet::new();
    for node in nodes.iter().chain(&nodes) {
        let random = StdRng::seed_from_u64(random.random());
        clients.spawn(client(Arc::clone(&node.catalog), Arc::clone(&history), CALLS, random));
    }
    let has_done = async |calls| {
        eventually("the clients go on", async || history.count.load(Ordering::Relaxed) >= calls).await;
    };
    has_done(CALLS / 3).await;
    let leader = cluster.leader();
    cluster.kill(leader);
    has_done(CALLS / 2).await;
    cluster.restart(leader);
    let stopped = cluster.leader();
    cluster.stop(stopped);
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.resume(stopped);
    has_done(CALLS).await;
    clients.join_all().await;

    let history = std::mem::take(&mut *history.calls.lock().unwrap());
    let of_kind = |is: fn(&Operation) -> bool| history.values().flatten().filter(|call| is(&call.operation)).count();
    let swaps = of_kind(|operation| matches!(operation, Operation::Swap { .. }));
    let refused = of_kind(|operation| matches!(operation, Operation::Refused(_)));
    let unknown = of_kind(|operation| matches!(operation, Operation::Unknown { .. }));
    println!("{swaps} swaps, {refused} refused, {unknown} unknown, of {CALLS}");
    assert!(swaps > CALLS / 10 && refused > 0);
    for (key, calls) in history {
        assert!(is_linearizable(calls), "{key}, seed {seed}");
    }
    for node in &nodes {
        node.catalog.refresh().await.unwrap();
        assert_eq!(mirrored(&*node.catalog).await, stored(&cluster));
    }
}
