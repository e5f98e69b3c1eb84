//! Successive versions under load: no request is lost, and each reaches the backend of the requested version.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use devanture_config::api::InstanceState;
use serde_json::json;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::runner::world::{Version, World, ask, ask_expecting, eventually, is_there, limits, plain, plain_but, run};

/// Switches under load in one test.
const SWITCHES: usize = 8;

/// Sends requests continuously until stopped: each response must arrive, from the requested version.
struct Load {
    is_over: Rc<Cell<bool>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    failed: Rc<RefCell<Vec<String>>>,
    answered: Rc<Cell<u64>>,
}

impl Load {
    fn start(world: &World) -> Self {
        let is_over: Rc<Cell<bool>> = Rc::default();
        let (failed, answered): (Rc<RefCell<Vec<String>>>, Rc<Cell<u64>>) = Default::default();
        let task = || {
            let (front, is_over, failed, answered) =
                (world.front, Rc::clone(&is_over), Rc::clone(&failed), Rc::clone(&answered));
            tokio::task::spawn_local(async move {
                while !is_over.get() {
                    let (status, text, version) = ask_expecting(front, "/", None).await;
                    answered.set(answered.get() + 1);
                    if status != 200 || !text.contains(&version) {
                        failed.borrow_mut().push(format!("{status} {text}"));
                    }
                }
            })
        };
        let tasks = (0..4).map(|_| task()).collect();
        Self { is_over, tasks, failed, answered }
    }

    async fn end(self) -> u64 {
        self.is_over.set(true);
        for task in self.tasks {
            task.await.unwrap();
        }
        assert_eq!(*self.failed.borrow(), Vec::<String>::new());
        self.answered.get()
    }
}

#[test]
fn switches_under_load_lose_no_request() {
    run(async {
        let world = World::start(limits()).await;
        let declared = plain_but(json!({ "warm_ms": 0 }));
        let versions: Vec<Version> =
            vec![world.version("1", "one", &declared).await, world.version("2", "two", &declared).await];
        world.switch(&versions[0]).await;
        let load = Load::start(&world);
        for version in versions.iter().cycle().skip(1).take(SWITCHES) {
            world.switch(version).await;
            let answer = world.json("/").await;
            assert_eq!(answer["version"], version.id.to_string());
        }
        assert!(load.end().await > 20);
        world.end().await;
    });
}

#[test]
fn a_front_alone_leaves_the_backend_running() {
    run(async {
        let world = World::start(limits()).await;
        let (one, two) = (world.version("1", "one", &plain()).await, world.version("2", "one", &plain()).await);
        assert_ne!(one.id, two.id);
        world.switch(&one).await;
        let before = world.pids();
        let (held, reported) = world.prepare(&two).await.unwrap();
        assert_eq!(reported, ["node-1/web.1 runs already", "node-1/web.2 runs already"]);
        world.point(&two, 0).await;
        drop(held);
        assert_eq!(world.get("/").await.0, 200);
        assert_eq!(world.pids(), before);
        world.end().await;
    });
}

#[test]
fn a_rollback_finds_the_backend_warm_and_only_the_last_one_is() {
    run(async {
        let world = World::start(limits()).await;
        let mut versions = Vec::new();
        for build in ["one", "two", "three"] {
            versions.push(world.version("1", build, &plain_but(json!({ "instances": 1 }))).await);
        }
        world.switch(&versions[0]).await;
        let first = world.pids();
        world.switch(&versions[1]).await;
        eventually("the first is warm", || {
            world.instances().iter().any(|one| one.state == InstanceState::Warm && one.pid == first.first().copied())
        })
        .await;
        let (held, reported) = world.prepare(&versions[0]).await.unwrap();
        assert_eq!(reported, ["node-1/web.1 runs already"]);
        world.point(&versions[0], 0).await;
        drop(held);
        eventually("it is live again", || world.pids() == first).await;
        world.switch(&versions[2]).await;
        eventually("the one in between is gone", || {
            let all = world.instances();
            all.len() == 2 && all.iter().all(|one| one.version != versions[1].id)
        })
        .await;
        assert!(is_there(first[0]));
        world.end().await;
    });
}

#[test]
fn what_is_under_way_ends_before_its_instance_does() {
    run(async {
        let world = World::start(limits()).await;
        let declared = plain_but(json!({ "instances": 1, "warm_ms": 0 }));
        let (one, two) = (world.version("1", "one", &declared).await, world.version("1", "two", &declared).await);
        world.switch(&one).await;
        let old = world.pids();
        let front = world.front;
        let slow = tokio::task::spawn_local(async move {
            let mut answers = Vec::new();
            // One after the other, the last from the new instance.
            for _ in 0..3 {
                answers.push(ask(front, "/slow", None).await);
            }
            answers
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.switch(&two).await;
        for (status, text) in slow.await.unwrap() {
            assert!(status == 200 && text.contains("build"), "{status} {text}");
        }
        eventually("the old one is gone", || !is_there(old[0])).await;
        world.end().await;
    });
}

#[test]
fn what_is_upgraded_gets_its_time() {
    run(async {
        let world = World::start(limits()).await;
        let declared = plain_but(json!({ "instances": 1, "warm_ms": 0, "drain_ms": 60_000 }));
        let (one, two) = (world.version("1", "one", &declared).await, world.version("1", "two", &declared).await);
        world.switch(&one).await;
        let old = world.pids();
        let mut stream = TcpStream::connect(world.front).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        world.switch(&two).await;
        eventually("the old one drains", || {
            world.instances().iter().any(|one| one.state == InstanceState::Stopping && one.pid == old.first().copied())
        })
        .await;
        stream.write_all(b"still here").await.unwrap();
        let mut echo = [0; 10];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"still here");
        drop(stream);
        eventually("the old one is gone", || !is_there(old[0])).await;
        assert_eq!(world.json("/").await["build"], "two");
        world.end().await;
    });
}

#[test]
fn what_was_prepared_and_not_switched_to_ends() {
    run(async {
        let world = World::start(limits()).await;
        let (one, two) = (world.version("1", "one", &plain()).await, world.version("1", "two", &plain()).await);
        world.switch(&one).await;
        let (held, _) = world.prepare(&two).await.unwrap();
        assert_eq!(world.instances().len(), 4);
        drop(held);
        eventually("they are gone", || world.instances().len() == 2).await;
        assert_eq!(world.json("/").await["build"], "one");
        world.end().await;
    });
}

#[test]
fn settings_switch_with_the_pointer() {
    run(async {
        let world = World::start(limits()).await;
        world.set("prod", 1, "COLOUR", "red");
        let version = world.version("1", "one", &plain()).await;
        world.switch(&version).await;
        assert!(world.json("/env").await.get("COLOUR").is_none());
        let report = |_: &str| {};
        let held = world.runner.prepare(&world.wanted(&version, 1), &report).await.unwrap();
        assert!(world.json("/env").await.get("COLOUR").is_none());
        world.point(&version, 1).await;
        assert_eq!(world.json("/env").await["COLOUR"], "red");
        drop(held);
        world.end().await;
    });
}

#[test]
fn scaling_and_restarting_under_load_lose_no_request() {
    run(async {
        let world = World::start(limits()).await;
        let version = world.version("1", "one", &plain()).await;
        world.switch(&version).await;
        let load = Load::start(&world);
        let report = |_: &str| {};
        world.scale("web", 4).await;
        world.runner.rescale(&world.app, "prod", &report).await.unwrap();
        assert_eq!(world.pids().len(), 4);
        world.scale("web", 1).await;
        world.runner.rescale(&world.app, "prod", &report).await.unwrap();
        eventually("one is left", || world.instances().len() == 1).await;
        let before = world.pids();
        world.runner.restart(&world.app, "prod", None, &report).await.unwrap();
        eventually("it is another one", || world.instances().len() == 1 && world.pids() != before).await;
        assert!(load.end().await > 10);
        world.end().await;
    });
}
