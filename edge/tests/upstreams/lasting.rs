//! Member changes persist: through restarts, pushes, rollbacks and promotions, as long as the environment.

use devanture_config::problem::Code;
use http::Method;
use serde_json::{Value, json};

use crate::support::{RunningEdge, edge, got};
use crate::upstreams::backend::Backend;
use crate::upstreams::{SITE, api, listed, listed_members, names, push, put, put_with, remove, who, who_of};
use crate::wire;

async fn done(edge: &RunningEdge, method: Method, path: &str, body: Value) -> Value {
    got(edge.api(method, path).json(&body)).await.json()
}

#[tokio::test]
async fn states_of_members_outlast_a_restart_and_every_switch() {
    let (one, two, three) = (Backend::start("one").await, Backend::start("two").await, Backend::start("three").await);
    let edge = edge().start().await;
    push(&edge, "prod", &api(&[&one], ""), SITE).await;
    put(&edge, &two.url(), "in").await;
    remove(&edge, &one.url()).await;
    let expected = listed_members(&listed(&edge, "prod").await);
    assert_eq!(expected[0], (one.url(), vec![], json!("out")));
    let edge = edge.restart().await;
    assert_eq!((listed_members(&listed(&edge, "prod").await), who(&edge).await), (expected.clone(), names(&["two"])));
    // A version with other settings of the upstream, and one more member.
    push(&edge, "prod", &api(&[&one, &three], "retries = 1\n"), &[("index.html", b"other")]).await;
    assert_eq!(who(&edge).await, names(&["two", "three"]));
    done(&edge, Method::POST, "/v1/apps/shop/environments/prod/rollback", json!({})).await;
    assert_eq!((listed_members(&listed(&edge, "prod").await), who(&edge).await), (expected, names(&["two"])));
    // Each environment has separate members, also after promotions.
    push(&edge, "staging", &api(&[&three], ""), &[("index.html", b"staged")]).await;
    assert_eq!(who_of(&edge, "staging--shop.localhost").await, names(&["three"]));
    done(&edge, Method::POST, "/v1/apps/shop/environments/prod/promote", json!({ "from": "staging" })).await;
    assert_eq!(who(&edge).await, names(&["two", "three"]));
    // A drained member that the live version no longer declares is not listed, and is drained again after a rollback.
    assert_eq!(listed(&edge, "prod").await.members.len(), 2);
    done(&edge, Method::POST, "/v1/apps/shop/environments/prod/rollback", json!({})).await;
    assert_eq!(who(&edge).await, names(&["two"]));
    // A version without the upstream has no members, and a later version with the upstream has the old changes.
    push(&edge, "prod", "", SITE).await;
    assert_eq!(put_with(&edge, edge.admin_token(), &two.url(), "drain").await.code(), Code::UpstreamUnknown);
    push(&edge, "prod", &api(&[], ""), SITE).await;
    assert_eq!(who(&edge).await, names(&["two"]));
    edge.stop().await;
}

#[tokio::test]
async fn a_deleted_environment_takes_its_members_along_and_has_them_when_it_is_had_back() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let edge = edge().start().await;
    push(&edge, "prod", &api(&[&one], ""), SITE).await;
    put(&edge, &two.url(), "in").await;
    let prod = "/v1/apps/shop/environments/prod";
    done(&edge, Method::DELETE, prod, Value::Null).await;
    assert_eq!(put_with(&edge, edge.admin_token(), &one.url(), "drain").await.code(), Code::Deleted);
    done(&edge, Method::POST, "/v1/apps/shop/undelete", json!({ "environment": "prod" })).await;
    assert_eq!(who(&edge).await, names(&["one", "two"]));
    edge.stop().await;
}

#[tokio::test]
async fn an_environment_that_has_ended_leaves_no_members_to_the_next_of_its_name() {
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let edge = edge().with_toml("[retention]\nundelete_hours = 0\ncollect_every_s = 0").start().await;
    push(&edge, "prod", &api(&[&one], ""), SITE).await;
    put(&edge, &two.url(), "in").await;
    done(&edge, Method::DELETE, "/v1/apps/shop/environments/prod", Value::Null).await;
    done(&edge, Method::POST, "/v1/gc", Value::Null).await;
    push(&edge, "prod", &api(&[&one], ""), SITE).await;
    assert_eq!(listed(&edge, "prod").await.members.len(), 1);
    assert_eq!(who(&edge).await, names(&["one"]));
    assert_eq!(edge.get(wire::HOST, "/").await.text(), "home");
    edge.stop().await;
}

#[tokio::test]
async fn upstreams_that_are_no_longer_named_do_not_pile_up() {
    let one = Backend::start("one").await;
    let edge = edge().start().await;
    let toml = |names: std::ops::Range<usize>| {
        let upstreams = names.map(|number| {
            let (name, url) = (format!("api-{number}"), one.url());
            format!("[[routes]]\npath = \"/{name}/*\"\nto = \"{name}\"\n[upstreams.{name}]\nto = [\"{url}\"]\n")
        });
        upstreams.collect::<String>()
    };
    let listed = async |name: usize| {
        let listed = got(edge.api(Method::GET, crate::upstreams::UPSTREAMS)).await.json::<Value>();
        let name = format!("api-{name}");
        let found = listed["upstreams"].as_array().unwrap().iter().find(|upstream| upstream["name"] == name.as_str());
        found.unwrap()["members"][0]["desired"].clone()
    };
    let drain = async |names: std::ops::Range<usize>| {
        push(&edge, "prod", &toml(names.clone()), SITE).await;
        for number in names {
            let path = crate::upstreams::member(&format!("api-{number}"), &one.url());
            done(&edge, Method::PUT, &path, json!({ "desired": "drain" })).await;
        }
    };
    // A hundred changes are remembered, also while another version is live.
    drain(0..100).await;
    drain(100..101).await;
    push(&edge, "prod", &toml(0..100), SITE).await;
    assert_eq!(listed(0).await, "drain");
    // Of more than two hundred changes, only those of declared members.
    drain(100..200).await;
    drain(200..201).await;
    push(&edge, "prod", &toml(0..100), SITE).await;
    assert_ne!(listed(0).await, "drain");
    edge.stop().await;
}
