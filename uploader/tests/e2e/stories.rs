//! The stories of pages of `docs`, run unchanged with both real programs; see [`story`].

use serde_json::json;

use super::recipe_machine::has_tools;
use crate::support::edge::{Edge, edge};
use crate::support::issuer::{AUDIENCE, Issuer};
use crate::support::{page, story};

/// Runs a story of Ada, an admin.
fn of_ada(name: &str, edge: &Edge) {
    let token = edge.new_token(&["--name", "ada", "--scope", "admin"]);
    story::run(name, edge, &[("ada", &[("DEVANTURE_TOKEN", &token)])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_canary_comes_out_as_the_page_says() {
    if has_tools() {
        of_ada("canary.md", &edge().start());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_visitor_who_is_held_comes_out_as_the_page_says() {
    if has_tools() {
        of_ada("pins.md", &edge().start());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_hashes_in_pages_comes_out_as_the_page_says() {
    if has_tools() {
        of_ada("integrity.md", &edge().start());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_protected_preview_comes_out_as_the_page_says() {
    if has_tools() {
        let edge = edge().with_limit("argon2_memory_kib", 7_168).with_limit("argon2_passes", 1);
        of_ada("protecting.md", &edge.with_table("[names]\nlogin = \"login.localhost\"\n").start());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_two_signers_comes_out_as_the_page_says() {
    if has_tools() && super::signing::is_installed() {
        of_ada("signing.md", &edge().start());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_receiver_of_webhooks_comes_out_as_the_page_says() {
    if has_tools() {
        of_ada("webhooks.md", &edge().start());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_job_without_a_stored_secret_comes_out_as_the_page_says() {
    if !has_tools() {
        return;
    }
    let issuer = Issuer::start();
    let trust = page::block("access.md", "part: edge.toml of the story");
    assert!(trust.contains(AUDIENCE), "{trust}");
    let edge = edge().with_table(&trust.replace("https://gitlab.example.org", &issuer.name())).start();
    let token = edge.new_token(&["--name", "ada", "--scope", "admin"]);
    let job = |branch, source| {
        let claims = json!({ "project_path": "acme/shop", "ref": branch, "pipeline_source": source });
        issuer.identity_token(AUDIENCE, &claims)
    };
    let (main, request) = (job("main", "push"), job("feature-cards", "merge_request_event"));
    let people: story::People<'_> = &[
        ("ada", &[("DEVANTURE_TOKEN", &token)]),
        ("job of main", &[("DEVANTURE_ID_TOKEN", &main)]),
        ("job of a merge request", &[("DEVANTURE_ID_TOKEN", &request)]),
    ];
    story::run("access.md", &edge, people);
}
