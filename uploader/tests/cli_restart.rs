//! A push during a restart of the edge: the edge holds running pushes in memory, and loses these pushes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use devanture_config::api::{DeployState, DeployStatus, Step, StepState};
use devanture_config::manifest::FileEntry;
use devanture_config::problem::{Code, Problem};
use devanture_config::{Digest, Manifest};

use crate::cli_support::fake_edge::{FakeEdge, Reply, event, urls};
use crate::cli_support::{Project, write};

const NOTHING_LIVE: &str = "Nothing is live yet; nothing has changed.";

#[test]
fn a_push_that_the_edge_has_forgotten_begins_again() {
    for (times, is_done) in [(1, true), (5, true), (usize::MAX, false)] {
        let puts = AtomicUsize::new(0);
        let edge = FakeEdge::start_with(move |request, _| {
            let is_forgotten = request.method == "PUT" && puts.fetch_add(1, Ordering::Relaxed) < times;
            is_forgotten.then(|| Reply::problem(Code::NotFound))
        });
        let ran = Project::site(&edge.url()).run(&["push", "--jobs", "1", "--json"]);
        assert!(ran.stderr.contains("it begins again"), "{ran:#?}");
        let begun = if is_done {
            assert_eq!(ran.json()["files"]["total"], 2, "{ran:#?}");
            times + 1
        } else {
            ran.failed("not_found", 1);
            11
        };
        assert_eq!(edge.state.lock().unwrap().begun.len(), begun);
    }
}

/// An edge restarted after the upload: seen as an answer to `finish`, or as no answer and an unknown deploy.
#[test]
fn a_push_that_the_edge_has_forgotten_at_the_end_begins_again() {
    for reply in [Reply::problem(Code::NotFound), Reply::Cut] {
        for (times, is_done) in [(1, true), (usize::MAX, false)] {
            let (finishes, reply) = (AtomicUsize::new(0), reply.clone());
            let edge = FakeEdge::start_with(move |request, _| match request.method.as_str() {
                "POST" if request.target.ends_with("/finish") => {
                    (finishes.fetch_add(1, Ordering::Relaxed) < times).then(|| reply.clone())
                }
                "GET" if request.target.contains("/deploys/") => Some(Reply::problem(Code::NotFound)),
                _ => None,
            });
            let ran = Project::site(&edge.url()).run(&["push", "--json"]);
            assert!(ran.stderr.contains("it begins again"), "{ran:#?}");
            let begun = if is_done {
                assert_eq!(
                    (&ran.json()["switched"], &ran.json()["files"]["total"]),
                    (&true.into(), &2.into()),
                    "{ran:#?}"
                );
                2
            } else {
                assert!([Some(1), Some(3)].contains(&ran.code), "{ran:#?}");
                assert_eq!(ran.last_line(), NOTHING_LIVE);
                11
            };
            assert_eq!(edge.state.lock().unwrap().begun.len(), begun);
            let sent = edge.seen().iter().filter(|line| line.starts_with("PUT")).count();
            assert_eq!(sent, 2, "what has arrived is not sent again");
        }
    }
}

/// The replaced edge ended the push, as remembered by its successor, itself replaced again and again meanwhile.
#[test]
fn a_push_that_the_edge_before_ended_as_it_was_replaced_begins_again() {
    let (finishes, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let edge = FakeEdge::start_with(move |request, _| match request.method.as_str() {
        "POST" if request.target.ends_with("/finish") => {
            (finishes.fetch_add(1, Ordering::Relaxed) == 0).then_some(Reply::Cut)
        }
        "GET" if request.target.contains("/deploys/") && looks.fetch_add(1, Ordering::Relaxed) < 4 => {
            Some(Reply::problem(Code::Restarting))
        }
        "GET" if request.target.contains("/deploys/") => Some(Reply::json(
            200,
            &DeployStatus {
                deploy: "d1".to_owned(),
                app: "shop".parse().unwrap(),
                environment: "prod".parse().unwrap(),
                state: DeployState::Failed,
                version: None,
                steps: Vec::new(),
                report: None,
                problem: Some(Box::new(Problem::new(Code::Restarting, "It ends."))),
            },
        )),
        _ => None,
    });
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    assert_eq!(ran.json()["switched"], true, "{ran:#?}");
    assert_eq!(edge.state.lock().unwrap().begun.len(), 2);
}

#[test]
fn a_push_that_the_edge_ends_before_its_switch_as_it_is_replaced_begins_again() {
    let finishes = AtomicUsize::new(0);
    let edge = FakeEdge::start_with(move |request, _| {
        let is_due = request.target.ends_with("/finish") && finishes.fetch_add(1, Ordering::Relaxed) == 0;
        let step = Step { name: "verify".to_owned(), state: StepState::Done, detail: "ok".to_owned(), ms: 1 };
        let problem = Problem::new(Code::Restarting, "It ends.").hint("push again");
        is_due.then(|| Reply::Events(vec![event("step", &step), event("problem", &problem)]))
    });
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    assert_eq!(ran.json()["switched"], true, "{ran:#?}");
    assert!(ran.stderr.contains("it begins again"), "{ran:#?}");
    assert_eq!(edge.state.lock().unwrap().begun.len(), 2);
}

/// A restart takes a while: no request is answered for longer than a few retries, nor when the push begins again.
#[test]
fn a_push_whose_edge_is_away_for_a_while_begins_again() {
    let (finishes, looks, begins) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let edge = FakeEdge::start_with(move |request, _| match request.method.as_str() {
        "POST" if request.target.ends_with("/finish") => {
            (finishes.fetch_add(1, Ordering::Relaxed) == 0).then_some(Reply::Cut)
        }
        "POST" if request.target.ends_with("/deploys") => {
            (1..7).contains(&begins.fetch_add(1, Ordering::Relaxed)).then_some(Reply::Cut)
        }
        "GET" if request.target.contains("/deploys/") => Some(Reply::problem(Code::NotFound)),
        "GET" => (looks.fetch_add(1, Ordering::Relaxed) < 4).then_some(Reply::Cut),
        _ => None,
    });
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    assert_eq!(ran.json()["switched"], true, "{ran:#?}");
    assert_eq!(edge.state.lock().unwrap().begun.len(), 2);
}

/// Starts an edge that is lost at the end of a push, and later reports the outcome.
fn lost_at_the_end(ended: serde_json::Value) -> FakeEdge {
    FakeEdge::start_with(move |request, _| match request.method.as_str() {
        "POST" if request.target.ends_with("/finish") => Some(Reply::Cut),
        "GET" if request.target.contains("/deploys/") => {
            let mut status = serde_json::json!({
                "deploy": "d1", "app": "shop", "environment": "prod", "version": null, "steps": [],
            });
            status.as_object_mut().unwrap().extend(ended.as_object().unwrap().clone());
            Some(Reply::json(200, &status))
        }
        _ => None,
    })
}

#[test]
fn a_push_whose_edge_is_lost_at_the_end_ends_as_the_edge_says_afterwards() {
    let report = serde_json::json!({
        "app": "shop", "environment": "prod", "version": Digest::of(b""), "previous": null, "urls": urls(),
        "files": { "total": 2, "new": 2 }, "bytes": { "total": 1, "sent": 1 }, "deploy": "d1", "switched": false,
        "steps": [],
    });
    let edge = lost_at_the_end(serde_json::json!({ "state": "stored", "report": report }));
    let ran = Project::site(&edge.url()).run(&["push", "--no-switch", "--json"]);
    assert_eq!((ran.code, &ran.json()["deploy"]), (Some(0), &"d1".into()), "{ran:#?}");

    let problem = Problem::new(Code::DiskFull, "No room.").hint("Make some.");
    let edge = lost_at_the_end(serde_json::json!({ "state": "failed", "problem": problem }));
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    assert_eq!(ran.failed("disk_full", 1)["hint"], "Make some.");
    assert_eq!(ran.last_line(), NOTHING_LIVE);

    // A restarted edge knows only its history.
    let edge = lost_at_the_end(serde_json::json!({ "state": "superseded" }));
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    let hint = ran.failed("unreachable", 3)["hint"].to_string();
    assert!(hint.contains("`devanture history` says how it ended"), "{hint}");
}

/// The version goes live, and the answer of the edge is unreadable, or a proxy's.
#[test]
fn a_push_whose_end_cannot_be_read_asks_the_edge_what_is_live() {
    let unread = vec!["event: step\ndata: {\"name\": 1}\n\n".to_owned(), "event: done\ndata: {}\n\n".to_owned()];
    for reply in [
        Reply::Events(unread),
        Reply::Whole(200, "text/html", b"<h1>".to_vec()),
        Reply::Whole(500, "text/html", b"<h1>".to_vec()),
    ] {
        let edge = FakeEdge::start_with(move |request, state| {
            request.target.ends_with("/finish").then(|| {
                state.live = state.begun.last().map(|begin| begin.manifest.clone());
                reply.clone()
            })
        });
        let ran = Project::site(&edge.url()).run(&["push", "--json"]);
        assert_eq!((ran.code, &ran.json()["switched"]), (Some(0), &true.into()), "{ran:#?}");
    }
}

#[test]
fn a_step_that_cannot_be_read_is_passed_over() {
    let finishes = AtomicUsize::new(0);
    let report = serde_json::json!({
        "app": "shop", "environment": "prod", "version": Digest::of(b""), "previous": null, "urls": urls(),
        "files": { "total": 2, "new": 2 }, "bytes": { "total": 1, "sent": 1 }, "deploy": "d1", "switched": true,
        "steps": [],
    });
    let edge = FakeEdge::start_with(move |request, _| {
        let is_due = request.target.ends_with("/finish") && finishes.fetch_add(1, Ordering::Relaxed) == 0;
        let events = || vec!["event: step\ndata: {\"name\": 1}\n\n".to_owned(), event("done", &report)];
        is_due.then(|| Reply::Events(events()))
    });
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    assert_eq!((ran.code, &ran.json()["switched"]), (Some(0), &true.into()), "{ran:#?}");
}

/// Before the first push the app does not exist, so no request reveals a live version.
#[test]
fn a_first_push_that_the_edge_has_forgotten_at_the_end_begins_again() {
    let finishes = AtomicUsize::new(0);
    let edge = FakeEdge::start_with(move |request, state| match request.method.as_str() {
        "POST" if request.target.ends_with("/finish") => {
            (finishes.fetch_add(1, Ordering::Relaxed) == 0).then(|| Reply::problem(Code::NotFound))
        }
        "GET" => state.live.is_none().then(|| Reply::problem(Code::NotFound)),
        _ => None,
    });
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    assert_eq!(ran.json()["switched"], true, "{ran:#?}");
    assert_eq!(edge.state.lock().unwrap().begun.len(), 2);
}

#[test]
fn a_push_in_whose_steps_something_is_missing_does_not_begin_again() {
    let edge = FakeEdge::start_with(|request, _| {
        let step = Step { name: "verify".to_owned(), state: StepState::Done, detail: "ok".to_owned(), ms: 1 };
        let problem = Problem::new(Code::NotFound, "It is gone.");
        let events = vec![event("step", &step), event("problem", &problem)];
        request.target.ends_with("/finish").then_some(Reply::Events(events))
    });
    Project::site(&edge.url()).run(&["push", "--json"]).failed("not_found", 1);
    assert_eq!(edge.state.lock().unwrap().begun.len(), 1);
}

/// A version gone live meanwhile is newer than a lost push.
#[test]
fn a_forgotten_push_takes_over_from_nothing_newer() {
    let edge = FakeEdge::start_with(|request, state| {
        if request.target.ends_with("/finish") {
            let newer = BTreeMap::from([(
                "n".parse().unwrap(),
                FileEntry { hash: Digest::of(b"n"), size: 1, media_type: None },
            )]);
            state.live = Some(Manifest::of_files(newer));
            return Some(Reply::Cut);
        }
        request.target.contains("/deploys/d1").then(|| Reply::problem(Code::NotFound))
    });
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    ran.failed("unreachable", 3);
    assert_eq!(edge.state.lock().unwrap().begun.len(), 1, "{ran:#?}");
}

/// The edge's part of an archive is lost with its memory; the local file remains.
#[test]
fn an_archive_that_the_edge_has_lost_is_sent_again() {
    for (times, flags, posts) in [(1, &[][..], 2), (usize::MAX, &[], 3), (1, &["--if-live", "abcdef"], 1)] {
        let tries = AtomicUsize::new(0);
        let edge = FakeEdge::start_with(move |request, _| {
            (request.method == "POST").then(|| {
                if tries.fetch_add(1, Ordering::Relaxed) < times {
                    return Reply::Cut;
                }
                let report = serde_json::json!({
                    "app": "shop", "environment": "prod", "version": Digest::of(b""), "previous": null, "urls": urls(),
                    "files": { "total": 1, "new": 1 }, "bytes": { "total": 1, "sent": 1 }, "deploy": "d1",
                    "switched": true, "steps": [],
                });
                Reply::json(200, &report)
            })
        });
        let project = Project::site(&edge.url());
        write(&project.path("site.zip"), b"PK not really");
        let ran = project.run(&[&["push", "site.zip", "--json"], flags].concat());
        assert_eq!(ran.stderr.contains("it begins again"), posts > 1, "{ran:#?}");
        if posts == 2 {
            assert_eq!(ran.json()["switched"], true, "{ran:#?}");
        } else {
            ran.failed("unreachable", 3);
        }
        let state = edge.state.lock().unwrap();
        let sent: Vec<_> = state.requests.iter().filter(|request| request.method == "POST").collect();
        assert_eq!(sent.len(), posts, "{ran:#?}");
        assert!(sent.iter().all(|request| request.body == b"PK not really"));
    }
}

/// A pause of changes, as during a copy of the store: the program waits, with a note.
#[test]
fn a_wait_for_the_edge_is_noted_once_on_stderr() {
    let tries = AtomicUsize::new(0);
    let edge = FakeEdge::start_with(move |request, _| {
        let is_paused = request.target.ends_with("/deploys") && tries.fetch_add(1, Ordering::Relaxed) < 2;
        let problem = Problem::new(Code::Restarting, "The catalog is paused for a copy.");
        // The field after the media type is one more of the head.
        let fields = "application/problem+json\r\nretry-after: 1";
        is_paused.then(|| Reply::Whole(503, fields, serde_json::to_vec(&problem).unwrap()))
    });
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    assert_eq!(ran.json()["switched"], true, "{ran:#?}");
    let line = "wait      The catalog is paused for a copy (retry in 1 second)";
    assert_eq!(ran.stderr.matches(line).count(), 1, "{ran:#?}");
}
