//! Permissions for member changes, and permitted addresses of members.

use devanture_config::api::Scope;
use devanture_config::problem::Code;
use http::{Method, StatusCode};

use crate::support::{edge, got};
use crate::upstreams::backend::Backend;
use crate::upstreams::{SITE, UPSTREAMS, api, names, push, put, put_with, remove, remove_with, who};

#[tokio::test]
async fn who_may_change_the_members_of_an_upstream() {
    let edge = edge().start().await;
    push(&edge, "prod", &api(&[], ""), SITE).await;
    let stranger = edge.token_for(Scope::Admin, Some("other"), None).await;
    let read = edge.token_for(Scope::Read, Some("shop"), None).await;
    let staging = edge.token_for(Scope::Push, Some("shop"), Some("staging")).await;
    let pusher = edge.token_for(Scope::Push, Some("shop"), Some("prod")).await;
    // The test makes no connection to the address.
    let public = "http://9.9.9.9:9";
    for (token, looks, changes) in [
        (&stranger, Some(Code::NotFound), Some(Code::NotFound)),
        (&read, None, Some(Code::Forbidden)),
        (&staging, Some(Code::Forbidden), Some(Code::Forbidden)),
        (&pusher, None, None),
    ] {
        for (answer, expected) in [
            (got(edge.ask(Method::GET, UPSTREAMS, token)).await, looks),
            (put_with(&edge, token, public, "in").await, changes),
            (remove_with(&edge, token, public).await, changes),
        ] {
            let code = (answer.status != StatusCode::OK).then(|| answer.code());
            assert_eq!(code, expected, "{answer:?}");
        }
    }
    edge.stop().await;
}

/// Law 11.
#[tokio::test]
async fn a_member_is_where_the_one_who_adds_it_may_reach() {
    let one = Backend::start("one").await;
    let edge = edge().start().await;
    // The version was pushed by an admin, so that its members may use any local address.
    push(&edge, "prod", &api(&[], ""), SITE).await;
    let pusher = edge.token_for(Scope::Push, Some("shop"), None).await;
    let by_name = one.url().replace("127.0.0.1", "localhost");
    let owner = edge.token_for(Scope::Admin, Some("shop"), None).await;
    for address in [&one.url(), &by_name, "http://10.0.0.1:3000", "http://[::ffff:127.0.0.1]:1", "unix:/run/x.sock"] {
        for token in [&pusher, &owner] {
            let answer = put_with(&edge, token, address, "in").await;
            assert_eq!(answer.code(), Code::UpstreamForbidden, "{address}");
        }
    }
    let hint = put_with(&edge, &owner, "http://10.0.0.1:3000", "in").await.problem().hint.unwrap();
    assert!(hint.contains(r#"write allow = ["10.0.0.1"] below [upstreams]"#), "{hint}");
    for address in ["http://169.254.169.254", "http://[fd00:ec2::254]", "http://169.254.1.1:80", "unix:/run/x.sock"] {
        let answer = put_with(&edge, edge.admin_token(), address, "in").await;
        assert_eq!(answer.code(), Code::UpstreamForbidden, "{address}");
    }
    let own = format!("http://{}", edge.admin());
    assert_eq!(put_with(&edge, edge.admin_token(), &own, "in").await.code(), Code::UpstreamForbidden);
    put(&edge, &one.url(), "in").await;
    assert_eq!(who(&edge).await, names(&["one"]));
    // A script may drain a member permitted by an admin, and restore the member; a removed member needs permission
    // again.
    for (desired, expected) in [("drain", StatusCode::OK), ("in", StatusCode::OK)] {
        assert_eq!(put_with(&edge, &pusher, &one.url(), desired).await.status, expected);
    }
    assert_eq!(who(&edge).await, names(&["one"]));
    remove(&edge, &one.url()).await;
    assert_eq!(put_with(&edge, &pusher, &one.url(), "in").await.code(), Code::UpstreamForbidden);
    edge.stop().await;
}

#[tokio::test]
async fn what_edge_toml_allows_anybody_who_may_push_may_add() {
    let one = Backend::start("one").await;
    let edge = edge().with_toml("[upstreams]\nallow = [\"127.0.0.0/8\"]").start().await;
    push(&edge, "prod", &api(&[], ""), SITE).await;
    let pusher = edge.token_for(Scope::Push, Some("shop"), None).await;
    assert_eq!(put_with(&edge, &pusher, &one.url(), "in").await.status, StatusCode::OK);
    assert_eq!(who(&edge).await, names(&["one"]));
    edge.stop().await;
}
