//! Values and names of control groups; `edge/tests/spawner/cgroups.rs` checks the effect in the kernel.

use super::*;

const LIMITS: InstanceLimits = InstanceLimits {
    memory_bytes: 1_000,
    processes: 100,
    app_tasks: 5_000,
    open_files: 10,
    cpu_percent: 150,
    file_bytes: 1,
    temporary_bytes: 1,
    temporary_files: 1,
};

#[test]
fn controllers_that_are_needed_must_be_there() {
    assert_eq!(missing("cpuset cpu io memory pids\n"), None);
    assert_eq!(missing("cpu memory"), Some("pids"));
    assert_eq!(missing(""), Some("memory"));
    assert!(has("memory pids cpu", "cpu") && !has("cpuset memory", "cpu"));
}

#[test]
fn limits_become_values_of_files() {
    let with = |name: &'static str, value: &str| (name, value.to_owned());
    let expected = [
        with("memory.max", "1000"),
        with("memory.swap.max", "0"),
        with("memory.oom.group", "1"),
        with("pids.max", "3200"),
        with("cpu.max", "150000 100000"),
    ];
    assert_eq!(settings(&LIMITS, true), expected);
    assert_eq!(settings(&LIMITS, false), expected[..4]);
    assert_eq!(settings(&InstanceLimits { cpu_percent: 0, ..LIMITS }, true), expected[..4]);
}

#[test]
fn numbers_are_found_by_their_whole_name() {
    let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
    assert_eq!(value_of(events, "oom_kill"), Some(2));
    assert_eq!(value_of(events, "oom"), Some(3));
    assert_eq!(value_of(events, "max"), None);
    assert_eq!(value_of("populated 1\nfrozen 0\n", "populated"), Some(1));
}

#[test]
fn no_id_leads_out_of_the_folder_of_groups() {
    assert_eq!(name_of("4f2a91bc03de"), Some("4f2a91bc03de"));
    for bad in ["", ".", "..", "../other", "a/b", "a.b", "cgroup.kill", &"x".repeat(NAME_BYTES_MAX + 1)] {
        assert_eq!(name_of(bad), None, "{bad}");
    }
}

#[test]
fn a_folder_that_is_no_control_group_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let choice = ControlGroups::Folder(folder.path().to_owned());
    assert!(Groups::open(&choice, "edge").unwrap_err().contains("cannot be used as a control group"));
    assert!(Groups::open(&ControlGroups::Off, "edge").unwrap().is_none());
}
