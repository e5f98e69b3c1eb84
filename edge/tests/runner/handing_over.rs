//! Instances handed over between edges while the instances end.

use std::time::Duration;

use devanture_config::api::InstanceState;
use devanture_config::limits::Limits;
use devanture_control::runner::Error;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::runner::world::{World, eventually, is_there, limits, plain_but, run};

#[test]
fn a_restart_without_overlap_is_given_up_once_the_next_edge_has_the_instances() {
    run(async {
        let world = World::start(limits()).await;
        let script = "trap '' TERM; echo deaf; while :; do sleep 0.05; done";
        let deaf = json!({ "worker": { "command": ["sh", "-c", script] } });
        let declared = plain_but(json!({ "instances": 1, "processes": deaf, "stop_ms": 60_000 }));
        let version = world.version("1", "one", &declared).await;
        world.switch(&version).await;
        while world.lines("worker.1").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let pids = world.pids();
        let (runner, app) = (world.runner.clone(), world.app.clone());
        let worker = "worker".parse().unwrap();
        let restart = tokio::spawn(async move { runner.restart(&app, "prod", Some(&worker), &|_line: &str| {}).await });
        eventually("it ends", || world.state("worker.1") == Some(InstanceState::Stopping)).await;
        let handover = world.runner.stand_still().await.unwrap();
        assert!(!restart.is_finished());
        assert!(world.runner.leave(false));
        let restarted = restart.await.unwrap();
        assert!(matches!(restarted, Err(Error::Restarting)), "{restarted:?}");
        // The next edge fails to start.
        drop(handover);
        eventually("all of them have ended", || !pids.iter().any(|pid| is_there(*pid))).await;
    });
}

/// Backend that ignores SIGTERM.
const DEAF: &str = "
    process.on('SIGTERM', () => {});
    require('http').createServer((question, answer) => answer.end('well')).listen(+process.env.PORT, '127.0.0.1');
";

#[test]
fn a_preview_that_was_ending_does_not_outlive_its_instance_because_it_is_visited_again() {
    run(async {
        let mut world = World::start(Limits { preview_idle_ms_max: 200, ..limits() }).await;
        let declared = plain_but(json!({ "instances": 1, "stop_ms": 60_000 }));
        let version = world.version_of("1", &[("server.js", DEAF, false)], &declared).await;
        assert_eq!(world.ask("/", Some(&version.id)).await.0, 200);
        let mut pid = None;
        eventually("it ends", || {
            let all = world.runner.instances(&world.app, "preview");
            pid = all.iter().find(|one| one.state == InstanceState::Stopping).and_then(|one| one.pid);
            pid.is_some()
        })
        .await;
        // The next edge keeps the instance running as long as visits continue.
        Box::pin(world.take_over(Limits { preview_idle_ms_max: 600_000, ..limits() })).await;
        assert_eq!(world.ask("/", Some(&version.id)).await.0, 200);
        assert_eq!(world.runner.instances(&world.app, "preview").len(), 2);
        kill_process(Pid::from_raw(pid.unwrap().cast_signed()).unwrap(), Signal::KILL).unwrap();
        // Only the new instance remains for the edge after that.
        loop {
            let handover = world.runner.stand_still().await.unwrap();
            world.runner.resume();
            let handed = serde_json::to_value(&handover.handed).unwrap();
            if handed["groups"].as_array().unwrap().len() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.end().await;
    });
}
