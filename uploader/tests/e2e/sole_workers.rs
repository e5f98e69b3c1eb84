//! Workers without overlap at a switch: never two at once, and one at the end.

use std::collections::BTreeSet;

use crate::support::edge::{Edge, edge};
use crate::support::managed::{Project, eventually, instances};

/// Does numbered jobs in sequence, and records overlaps.
const JOBS: &str = r#"
name=$(cat name.txt)
# The kernel releases it with the last process that has it, however that ends.
exec 9> data/lock
flock -n 9 || echo "$name" >> data/overlaps
while :; do
  number=$(($(cat data/counter 2> /dev/null || echo 0) + 1))
  echo "$number $name" >> data/jobs
  sleep 0.02
  # In one step: a worker that is ended in the middle leaves the number whole.
  echo "$number" > "data/counter.$name" && mv "data/counter.$name" data/counter
done
"#;

fn kept(project: &Project, edge: &Edge, file: &str) -> String {
    project.run(edge, &["run", "--", "sh", "-c", &format!("cat data/{file} 2> /dev/null || true")]).stdout
}

/// Waits until the worker of this version is at work.
async fn works(project: &Project, edge: &Edge, name: &str) {
    eventually(&format!("the worker of {name}"), async || {
        kept(project, edge, "jobs").lines().last().filter(|line| line.ends_with(name)).map(drop)
    })
    .await;
}

fn version(project: &Project, name: &str, script: &str) {
    project.backend(name);
    project.write("out/jobs.sh", script);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_two_versions_never_work_at_once_through_switches_rollbacks_and_restarts() {
    let edge = edge().with_runner().start();
    let project =
        Project::new("game", "one", "persist = \"data\"\n[server.processes.jobs]\ncommand = [\"sh\", \"jobs.sh\"]");
    version(&project, "one", JOBS);
    let one = project.push(&edge);
    works(&project, &edge, "one").await;
    version(&project, "two", JOBS);
    project.push(&edge);
    works(&project, &edge, "two").await;
    for round in 0..20 {
        // A rollback goes to the version before, here to `two`.
        let arguments = if round % 2 == 0 { vec!["switch", &one] } else { vec!["rollback"] };
        let ran = project.run(&edge, &arguments);
        assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    }
    assert_eq!(project.run(&edge, &["restart", "jobs"]).code, Some(0));
    assert_eq!(project.run(&edge, &["switch", &one]).code, Some(0));
    works(&project, &edge, "one").await;
    eventually("one healthy worker", async || {
        let all = instances(&edge, "game", "prod").await;
        let jobs: Vec<_> = all.iter().filter(|one| one["process"] == "jobs").collect();
        matches!(jobs[..], [one] if one["state"] == "healthy").then_some(())
    })
    .await;
    assert_eq!(kept(&project, &edge, "overlaps"), "");
    let jobs = kept(&project, &edge, "jobs");
    let numbers: Vec<&str> = jobs.lines().filter_map(|line| line.split(' ').next()).collect();
    // The last job of a worker ended in the middle is repeated by the next: the job was not counted.
    let twice = numbers.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let different: BTreeSet<&&str> = numbers.iter().collect();
    assert_eq!(numbers.len(), different.len() + twice, "a job was done by two at once");
    assert!(numbers.len() > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_worker_does_not_stay_is_taken_back_with_the_worker_before() {
    let edge = edge().with_limit("instance_restart_ms_min", 50).with_runner().start();
    let project =
        Project::new("game", "one", "persist = \"data\"\n[server.processes.jobs]\ncommand = [\"sh\", \"jobs.sh\"]");
    version(&project, "one", JOBS);
    let one = project.push(&edge);
    works(&project, &edge, "one").await;
    version(&project, "two", "exit 1");
    assert_ne!(project.push(&edge), one);
    eventually("the version before", async || {
        let ran = project.run(&edge, &["status", "--json"]);
        ran.stdout.contains(&format!("\"version\":\"{one}\"")).then_some(())
    })
    .await;
    let count = kept(&project, &edge, "jobs").lines().count();
    eventually("its worker", async || (kept(&project, &edge, "jobs").lines().count() > count).then_some(())).await;
    assert_eq!(kept(&project, &edge, "overlaps"), "");
    // The first worker has no predecessor, and so is tried before the switch.
    let ran = project.run(&edge, &["push", "--json", "--env", "staging"]);
    assert_eq!(ran.problem(), "crash_loop", "{ran:#?}");
}
