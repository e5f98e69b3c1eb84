//! Tests of refusals at the beginning or prediction of a push, before any upload.

use devanture_config::api::{BeginDeploy, HostnameRequest, Source};
use devanture_config::limits::Limits;
use devanture_config::manifest::{ServerFile, ServerFolder};
use devanture_config::problem::Code;
use devanture_config::site_toml::{ROUTES_MAX, SiteFile};
use devanture_config::{Manifest, PlaceName};
use serde_json::{Value, json};

use super::collections::world::{World, content, digest, manifest, name, world, world_with};
use super::taking_in::{begin, send};
use crate::ledger::{Actor, Error};

/// A bundle of one page with the settings.
fn with(toml: &str) -> Manifest {
    let site = SiteFile::parse("devanture.toml", toml).unwrap();
    let mut manifest = manifest(&[1].into());
    (manifest.base, manifest.env) = (site.base, site.env);
    manifest
}

/// Begins a push, and checks that its prediction agrees.
async fn begins(world: &World, environment: &str, manifest: &Manifest, options: Value) -> Result<(), Code> {
    let (app, actor, environment) = (name(0), Actor::local(), environment.parse::<PlaceName>().unwrap());
    let push = || {
        let options = serde_json::from_value(options.clone()).unwrap();
        let begin = BeginDeploy { manifest: manifest.clone(), source: Source::default(), options };
        world.publisher.checked_whole(&app, begin)
    };
    let predicted = world.publisher.predict(&actor, &app, &environment, push()).await.map(drop);
    let begun = world.publisher.begin(&actor, &app, &environment, push()).await.map(drop);
    let [predicted, begun] = [predicted, begun].map(|result| result.map_err(|Error(problem)| problem.code));
    assert_eq!(predicted, begun);
    begun
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_not_sent_to_an_edge_that_runs_none() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let mut of_files = with("[server]\ncommand = [\"./run\"]\n");
    let file = ServerFile { hash: digest(1), run: true, size: content(1).len() as u64 };
    of_files.server = Some(ServerFolder { files: [("run".parse().unwrap(), file)].into(), ..ServerFolder::default() });
    let of_image = with("[server]\nimage = \"registry.example.org/shop:1\"\n");
    for backend in [of_files, of_image] {
        assert_eq!(begins(&world, "prod", &backend, json!({})).await, Err(Code::RunnerOff));
    }
    assert_eq!(begins(&world, "prod", &with(""), json!({})).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_one_too_many_is_not_sent_and_the_last_one_that_may_be_is() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { environments_max: 1, smoke_checks_max: 2, ..Limits::default() };
    let world = world_with(folder.path(), 9, limits).await;
    world.push(&name(0), &[2].into()).await.unwrap();
    assert_eq!(begins(&world, "staging", &with(""), json!({})).await, Err(Code::TooMany));
    assert_eq!(begins(&world, "prod", &with(""), json!({})).await, Ok(()));
    let checks = |count: usize| with(&"[[smoke]]\npath = \"/\"\n".repeat(count));
    assert_eq!(begins(&world, "prod", &checks(2), json!({})).await, Ok(()));
    assert_eq!(begins(&world, "prod", &checks(3), json!({})).await, Err(Code::BadManifest));
    // Routes of all tables together.
    let routes = |from: usize, count: usize, table: &str| -> String {
        let route = |number| format!("[[{table}routes]]\npath = \"/{number}/*\"\nto = \"http://10.0.0.1:{number}\"\n");
        (from..from + count).map(route).collect()
    };
    let half = ROUTES_MAX / 2;
    let most = routes(1, half, "") + &routes(half + 1, half, "env.staging.");
    assert_eq!(begins(&world, "prod", &with(&most), json!({})).await, Ok(()));
    let more = most + &routes(2 * half + 1, 1, "env.staging.");
    assert_eq!(begins(&world, "prod", &with(&more), json!({})).await, Err(Code::BadManifest));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_gets_so_many_upstreams_and_members_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { upstreams_max: 2, upstream_members_per_version_max: 3, ..Limits::default() };
    let world = world_with(folder.path(), 9, limits).await;
    world.push(&name(0), &[2].into()).await.unwrap();
    let upstream = |table: &str, name: &str, members: usize| {
        let to: Vec<String> = (1..=members).map(|number| format!("\"http://10.0.0.1:{number}\"")).collect();
        format!("[{table}upstreams.{name}]\nto = [{}]\n", to.join(", "))
    };
    let of = |name: &str, members: usize| upstream("", name, members);
    let staged = |name: &str, members: usize| upstream("env.staging.", name, members);
    for (toml, expected) in [
        (of("a", 2) + &of("b", 1), Ok(())),
        (of("a", 1) + &of("b", 1) + &of("c", 1), Err(Code::BadManifest)),
        // The same address in two upstreams counts as two members.
        (of("a", 2) + &of("b", 2), Err(Code::BadManifest)),
        // A declaration of an environment replaces the base's, and adds to the rest.
        (of("a", 2) + &of("b", 1) + &staged("a", 1) + &staged("b", 2), Ok(())),
        (of("a", 2) + &of("b", 1) + &staged("b", 2), Err(Code::BadManifest)),
        (of("a", 1) + &staged("b", 1) + &staged("c", 1), Err(Code::BadManifest)),
    ] {
        assert_eq!(begins(&world, "prod", &with(&toml), json!({})).await, expected, "{toml}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_brings_nothing_fits_also_where_the_limit_was_lowered() {
    let folder = tempfile::tempdir().unwrap();
    let full = Limits { stored_bytes_per_app_max: 2 * content(1).len() as u64, ..Limits::default() };
    let world = world_with(folder.path(), 9, full.clone()).await;
    world.push(&name(0), &[1, 2].into()).await.unwrap();
    world.publisher.ledger.set_limits(&Limits { stored_bytes_per_app_max: 1, ..full });
    assert_eq!(begins(&world, "prod", &manifest(&[1].into()), json!({})).await, Ok(()));
    assert_eq!(begins(&world, "prod", &manifest(&[1, 3].into()), json!({})).await, Err(Code::StorageFull));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostnames_beyond_the_limits_of_the_app_and_of_the_environment_are_refused_before_anything_is_sent() {
    for limits in
        [Limits { hostnames_per_app_max: 2, ..Limits::default() }, Limits { hostnames_max: 2, ..Limits::default() }]
    {
        let folder = tempfile::tempdir().unwrap();
        let world = world_with(folder.path(), 9, limits).await;
        world.push(&name(0), &[2].into()).await.unwrap();
        let (app, prod, request) = (name(0), PlaceName::prod(), HostnameRequest::default());
        let given = "a.example.org".parse().unwrap();
        let environments = &world.publisher.environments;
        environments.hostnames.set_hostname(&Actor::local(), &app, &prod, &given, &request, false).await.unwrap();
        let listing = |hosts: &[&str]| with(&format!("[env.prod]\nhostnames = {hosts:?}\n"));
        // Hostnames of the environment take no further space.
        let two = listing(&["a.example.org", "b.example.org"]);
        assert_eq!(begins(&world, "prod", &two, json!({})).await, Ok(()));
        let three = listing(&["b.example.org", "c.example.org"]);
        assert_eq!(begins(&world, "prod", &three, json!({})).await, Err(Code::HostnamesFull));
        // A push without a switch claims no names.
        assert_eq!(begins(&world, "prod", &three, json!({"no_switch": true})).await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_lacks_a_part_of_what_is_live_is_refused_only_where_it_is_to_replace_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), 9).await;
    let (app, actor) = (name(0), Actor::local());
    let routed = with("[[routes]]\npath = \"/inside/*\"\nto = \"http://10.0.0.1:1\"\n");
    let begun = begin(&world, &actor, &app, routed).await.unwrap();
    send(&world, &actor, &app, &begun.deploy, 1).await.unwrap();
    world.finish(&app, &begun.deploy).await.unwrap();
    let page = with("");
    let without = |environment, options| begins(&world, environment, &page, options);
    assert_eq!(without("prod", json!({})).await, Err(Code::Warnings));
    for options in [json!({ "allow_warnings": true }), json!({ "no_switch": true }), json!({ "alias": "trial" })] {
        assert_eq!(without("prod", options.clone()).await, Ok(()), "{options}");
    }
    assert_eq!(without("staging", json!({})).await, Ok(()));
}
