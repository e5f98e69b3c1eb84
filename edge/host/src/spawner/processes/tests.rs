//! Tests of parsing `/proc`, and of assigning processes to owners.

use super::*;
use rustix::process::getpid;

fn process(pid: i32, parent: i32, group: i32) -> Process {
    Process { pid, parent, group, session: group, is_dead: false, started: 1, resident_pages: 1, threads: 1 }
}

/// User of the instances in the tests.
const UID: u32 = 5_000;

fn owner(key: u64, main: i32) -> Owner {
    Owner { key, main, marker: format!("marker-{key}"), uid: UID }
}

fn mark(key: u64, uid: u32) -> Mark {
    Mark { marker: format!("marker-{key}"), uids: [uid; 4] }
}

fn pids(processes: &[&Process]) -> Vec<i32> {
    let mut pids: Vec<i32> = processes.iter().map(|process| process.pid).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn the_line_of_a_process_is_read_whatever_its_name_is() {
    let line =
        "42 (a) S (b) R 7 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 11 0 123456 1000000 250 18446744073709551615 1";
    let read = Process::parse(line).unwrap();
    let expected = Process {
        pid: 42,
        parent: 7,
        group: 40,
        session: 39,
        is_dead: false,
        started: 123_456,
        resident_pages: 250,
        threads: 11,
    };
    assert_eq!(read, expected);
    assert!(Process::parse(&line.replace(" R ", " Z ")).unwrap().is_dead);
    for broken in
        ["", "42", "42 (sh", "42 (sh) S 1 2", "x (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21"]
    {
        assert_eq!(Process::parse(broken), None, "{broken}");
    }
}

#[test]
fn a_process_finds_itself_and_its_variables() {
    let own = getpid().as_raw_nonzero().get();
    let table = Table::read();
    let parent = table.get(own).unwrap().parent;
    assert!(table.descendants(parent).iter().any(|process| process.pid == own));
    assert!(table.with_ancestors(own).contains(&parent));
    assert_eq!(variable_of(own, "PATH"), std::env::var("PATH").ok());
    assert_eq!(variable_of(own, "PAT"), None);
}

#[test]
fn what_comes_from_an_instance_belongs_to_it() {
    let table = Table::of([process(10, 1, 10), process(11, 10, 10), process(12, 11, 12), process(20, 1, 20)]);
    let mut seen: HashMap<Identity, u64> = HashMap::new();
    let shares = shares(&table, 1, &[owner(1, 10), owner(2, 20)], &mut seen, |_| None);
    assert_eq!(pids(&shares.of[&1]), [10, 11, 12]);
    assert_eq!(pids(&shares.of[&2]), [20]);
    assert!(shares.strays.is_empty());
    assert_eq!(seen.len(), 4);
}

#[test]
fn orphans_are_known_by_group_by_marker_and_by_having_been_seen() {
    // 11 is in the group, 12 carries the marker, 13 descends from 12, 14 was seen before, 15 is unknown.
    let table = Table::of([
        process(11, 1, 10),
        process(12, 1, 12),
        process(13, 12, 12),
        process(14, 1, 14),
        process(15, 1, 15),
        process(99, 0, 99),
    ]);
    let mut seen: HashMap<Identity, u64> = [((14, 1), 1), ((15, 2), 1), ((77, 1), 1)].into();
    let mark_of = |pid: i32| (pid == 12).then(|| mark(1, UID));
    let shares = shares(&table, 1, &[owner(1, 10)], &mut seen, mark_of);
    assert_eq!(pids(&shares.of[&1]), [11, 12, 13, 14]);
    assert_eq!(pids(&shares.strays), [15]);
    assert!(!seen.contains_key(&(77, 1)), "who is gone is forgotten");
}

#[test]
fn law_11_a_marker_counts_for_the_user_of_its_instance_alone() {
    // 11 and 12 carry the marker of the first instance, 13 descends from 12, 14 carries the marker of its own user's
    // instance.
    let table = Table::of([
        process(10, 1, 10),
        process(20, 1, 20),
        process(11, 1, 11),
        process(12, 1, 12),
        process(13, 12, 12),
        process(14, 1, 14),
    ]);
    let other = UID + 1;
    let owners = [owner(1, 10), Owner { uid: other, ..owner(2, 20) }];
    let mark_of = |pid: i32| match pid {
        11 => Some(mark(1, UID)),
        12 | 13 => Some(mark(1, other)),
        14 => Some(mark(2, other)),
        _ => None,
    };
    let mut seen: HashMap<Identity, u64> = HashMap::new();
    let shares = shares(&table, 1, &owners, &mut seen, mark_of);
    assert_eq!(pids(&shares.of[&1]), [10, 11], "nobody gives another user's instance processes");
    assert_eq!(pids(&shares.of[&2]), [14, 20]);
    assert_eq!(pids(&shares.strays), [12, 13], "they are ended");
    assert!(!seen.contains_key(&(12, 1)));
}

#[test]
fn the_dead_are_nobodys() {
    let dead = Process { is_dead: true, ..process(10, 1, 10) };
    let table = Table::of([dead, Process { is_dead: true, ..process(30, 1, 30) }]);
    let mut seen: HashMap<Identity, u64> = HashMap::new();
    let shares = shares(&table, 1, &[owner(1, 10)], &mut seen, |_| None);
    assert!(shares.of.is_empty() && shares.strays.is_empty());
}

#[test]
fn a_circle_of_parents_ends() {
    let table = Table::of([process(10, 11, 10), process(11, 10, 10), process(12, 1, 12)]);
    assert_eq!(pids(&table.descendants(1)), [12]);
    assert_eq!(pids(&table.descendants(10)), [10, 11]);
    assert_eq!(table.with_ancestors(10).len(), 2);
}
