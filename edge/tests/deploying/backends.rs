//! Backends that the edge would not run: refused at the start of the push, even for a push that does not go live.

use devanture_config::Digest;
use devanture_config::api::{BeginDeploy, DeployOptions, Scope};
use devanture_config::manifest::{ServerFile, ServerFolder};
use devanture_config::problem::Code;
use http::Method;
use serde_json::json;

use crate::support::backends::Backend;
use crate::support::{Files, edge, got, manifest};

const PLACE: (&str, &str) = ("shop", "prod");

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_of_more_instances_than_an_environment_may_have_is_refused_before_it_is_sent() {
    let pages: Files<'_> = &[("index.html", b"pages alone")];
    let edge = edge().with_runner().with_app("shop", pages).with_limit("instances_max", 2).start().await;
    let worker = |instances: u64| json!({ "mailer": { "command": ["node", "server.js"], "instances": instances } });
    let beside = |instances: u64| Backend::new("beside").with("processes", worker(instances));
    let no_switch = || DeployOptions { no_switch: true, ..DeployOptions::default() };
    let alias = || DeployOptions { alias: Some("feature".parse().unwrap()), ..DeployOptions::default() };
    for (backend, expected) in [
        (Backend::new("few").with("instances", 2), None),
        (Backend::new("many").with("instances", 3), Some(Code::TooMany)),
        (beside(1), None),
        (beside(2), Some(Code::TooMany)),
    ] {
        for options in [DeployOptions::default(), no_switch(), alias()] {
            let foreseen = edge.predict_backend(edge.admin_token(), PLACE, &backend, options.clone()).await;
            assert_eq!(foreseen.err().map(|problem| problem.code), expected, "{options:?}");
        }
    }
    let refused = edge.push_preview(edge.admin_token(), PLACE, &beside(2)).await.unwrap_err();
    assert_eq!(refused.code, Code::TooMany, "{refused:?}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_whose_interpreter_the_edge_has_not_is_refused_before_it_is_sent() {
    let edge = edge().with_runner().start().await;
    let program = b"print('up')";
    let file = ServerFile { hash: Digest::of(program), run: false, size: program.len() as u64 };
    let mut bundle = manifest(&[("index.html", b"one")]);
    bundle.base.server = Some(serde_json::from_value(json!({ "command": ["./v/bin/python3", "main.py"] })).unwrap());
    for (target, expected) in [("../../main.py", None), ("/interpreters/python3.11", Some(Code::BadBundle))] {
        let mut folder = ServerFolder::default();
        folder.files.insert("main.py".parse().unwrap(), file.clone());
        folder.links.insert("v/bin/python3".parse().unwrap(), target.to_owned());
        bundle.server = Some(folder);
        for query in ["?dry_run=true", "?no_switch=true"] {
            let begin =
                BeginDeploy { manifest: bundle.clone(), source: Default::default(), options: Default::default() };
            let path = format!("/v1/apps/shop/environments/prod/deploys{query}");
            let answer = got(edge.api(Method::POST, &path).json(&begin)).await;
            let refused = (!answer.status.is_success()).then(|| answer.code());
            assert_eq!(refused, expected, "{target} {query}: {}", answer.text());
        }
    }
    edge.stop().await;
}

/// On edges where all backends share the edge's user.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_its_token_may_not_have_run_is_refused_before_it_is_sent() {
    // As root, each environment has a separate user.
    let edge = match rustix::process::geteuid().is_root() {
        true => {
            let user = 1_000_000_000 + rand::random::<u32>() % 100_000_000;
            edge().run_by_user(user).with_toml("[runner]\nenabled = true").start().await
        }
        false => edge().with_runner().start().await,
    };
    let backend = Backend::new("page");
    let tenant = edge.token_for(Scope::Push, Some("shop"), None).await;
    let refused = edge.push_preview(&tenant, PLACE, &backend).await.unwrap_err();
    assert_eq!(refused.code, Code::RunnerForbidden, "{refused:?}");
    let predict = async |token: &str| edge.predict_backend(token, PLACE, &backend, DeployOptions::default()).await;
    let foreseen = predict(&tenant).await.unwrap_err();
    assert_eq!((foreseen.code, &foreseen.detail), (refused.code, &refused.detail));
    assert!(!predict(edge.admin_token()).await.unwrap().missing.is_empty());
    edge.stop().await;
}
