//! A switch under load: no response fails or mixes versions, no page breaks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::time::sleep;

use crate::support::edge::{Edge, edge, files};
use crate::support::{VISITOR_PAUSE, inputs, rounds};

const SWITCHES: usize = 1_000;

type Site = BTreeMap<String, Vec<u8>>;

/// Switches back and forth until so many switches are done.
async fn switch_back_and_forth(edge: &Edge, app: &str, versions: &[String; 2], switches: usize) {
    let client = edge.client(true);
    let url = format!("https://{}/v1/apps/{app}/environments/prod/switch", edge.admin());
    for number in 0..switches {
        let body = json!({"version": versions[number % 2]});
        let answer = client.post(&url).bearer_auth(&edge.token).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }
}

fn version_of(report: &serde_json::Value) -> String {
    report["version"].as_str().unwrap().to_owned()
}

fn sites(first: &Path, second: &Path, versions: &[String; 2]) -> BTreeMap<String, Site> {
    let short = |id: &String| id[..12].to_owned();
    BTreeMap::from([(short(&versions[0]), files(first)), (short(&versions[1]), files(second))])
}

/// Law 1: one request, one version.
#[tokio::test(flavor = "multi_thread")]
async fn law_1_every_response_during_a_thousand_switches_is_a_file_of_the_version_that_it_names() {
    let switches = rounds(SWITCHES);
    let (Some(first), Some(second)) = (inputs::swagger("5.29.0"), inputs::swagger("5.29.1")) else { return };
    let edge = edge().start();
    let versions = [version_of(&edge.push("docs", &first)), version_of(&edge.push("docs", &second))];
    let sites = Arc::new(sites(&first, &second, &versions));
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let mut clients = Vec::new();
    for number in 0..6 {
        let client = edge.client(number % 2 == 0);
        let (sites, stop, seen, ids) = (Arc::clone(&sites), Arc::clone(&stop), Arc::clone(&seen), versions.clone());
        let paths = ["package.json", "swagger-ui-bundle.js", "swagger-ui.css", "swagger-ui-es-bundle-core.js"];
        let base = edge.url("docs.localhost", "");
        clients.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                for path in paths {
                    let answer = client.get(format!("{base}/{path}")).send().await.unwrap();
                    assert_eq!(answer.status(), 200);
                    let version = answer.headers()["devanture-version"].to_str().unwrap().to_owned();
                    let body = answer.bytes().await.unwrap();
                    assert!(sites[&version][path] == body, "{path} is not that of {version}");
                    seen[usize::from(ids[1].starts_with(&version))].fetch_add(1, Ordering::Relaxed);
                }
                sleep(VISITOR_PAUSE).await;
            }
        }));
    }
    switch_back_and_forth(&edge, "docs", &versions, switches).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let seen = [seen[0].load(Ordering::Relaxed), seen[1].load(Ordering::Relaxed)];
    assert!(seen[0] > 20 && seen[1] > 20, "{seen:?}");
    assert!(edge.log().contains("\"status\":200"), "the access log has them");
}

/// Returns the assets named by each page of a site, and by each of its scripts; matches in other files are plain text.
fn links(site: &Site) -> BTreeMap<String, Vec<String>> {
    let of_text = |(name, text): (&String, &Vec<u8>)| {
        let is_page = match Path::new(name).extension()?.to_str()? {
            "html" => true,
            "js" => false,
            _ => return None,
        };
        let mut named = assets(std::str::from_utf8(text).unwrap());
        named.retain(|asset| is_page || site.contains_key(asset));
        Some((name.clone(), named))
    };
    site.iter().filter_map(of_text).collect()
}

/// Returns every `/assets/…` in a text.
fn assets(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .match_indices("assets/")
        .map(|(at, _)| {
            let name = text[at..].split(['"', '\'', ')', '`', ' ', '\\', '>', '?']).next().unwrap();
            name.to_owned()
        })
        .filter(|name| name.contains('.'))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Law 10: a page never breaks in a switch.
#[tokio::test(flavor = "multi_thread")]
async fn law_10_no_page_load_fails_that_straddles_a_switch() {
    let (Some(first), Some(second)) = (inputs::vite("a"), inputs::vite("b")) else { return };
    let edge = edge().start();
    let versions = [version_of(&edge.push("shop", &first)), version_of(&edge.push("shop", &second))];
    let sites = Arc::new(sites(&first, &second, &versions));
    let links: BTreeMap<_, _> = sites.iter().map(|(version, site)| (version.clone(), links(site))).collect();
    assert!(links.values().all(|links| links["index.html"].len() >= 2), "{links:?}");
    let links = Arc::new(links);
    let stop = Arc::new(AtomicBool::new(false));
    let straddled = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for number in 0..6 {
        let client = edge.client(number % 2 == 0);
        let (sites, links) = (Arc::clone(&sites), Arc::clone(&links));
        let (stop, straddled) = (Arc::clone(&stop), Arc::clone(&straddled));
        let base = edge.url("shop.localhost", "/");
        clients.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let page = client.get(&base).send().await.unwrap();
                assert_eq!(page.status(), 200);
                let version = page.headers()["devanture-version"].to_str().unwrap().to_owned();
                assert!(sites[&version]["index.html"] == page.bytes().await.unwrap());
                let mut wanted = links[&version]["index.html"].clone();
                let mut loaded = 0;
                let mut after = version.clone();
                while let Some(asset) = wanted.get(loaded).cloned() {
                    loaded += 1;
                    let answer = client.get(format!("{base}{asset}")).send().await.unwrap();
                    assert_eq!(answer.status(), 200, "{asset} of {version}");
                    answer.headers()["devanture-version"].to_str().unwrap().clone_into(&mut after);
                    let body = answer.bytes().await.unwrap();
                    assert!(sites[&version][&asset] == body, "{asset} of {version}");
                    for more in links[&version].get(&asset).into_iter().flatten() {
                        if !wanted.contains(more) {
                            wanted.push(more.clone());
                        }
                    }
                }
                let now = client.head(&base).send().await.unwrap();
                if now.headers()["devanture-version"] != version.as_str() {
                    straddled.fetch_add(1, Ordering::Relaxed);
                }
                sleep(VISITOR_PAUSE).await;
            }
        }));
    }
    switch_back_and_forth(&edge, "shop", &versions, rounds(SWITCHES)).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(straddled.load(Ordering::Relaxed) > 5, "no page load met a switch");
    // Answers for an earlier version were assets with a fingerprint; the page itself never is.
    let (_, metrics) = edge.api("GET", "/metrics", None).await;
    assert!(metrics.as_str().unwrap().contains("devanture_kept_assets_total"), "{metrics}");
}

/// A fingerprinted name always has the same content.
#[test]
fn other_content_under_a_fingerprinted_name_is_held_back() {
    let edge = edge().start();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("index.html", "one");
    write("app-4f2a91bc.js", "let one");
    let one = version_of(&edge.push("shop", folder.path()));
    write("index.html", "two");
    let two = version_of(&edge.push("shop", folder.path()));
    write("app-4f2a91bc.js", "let two");
    let path = folder.path().to_str().unwrap();
    let ran = edge.run("shop", &["push", path, "--json"]);
    assert_eq!((ran.problem().as_str(), ran.code), ("fingerprint_reused", Some(1)));
    assert_eq!(ran.last_line(), "The previous version is still running.");
    assert_eq!(edge.json("shop", &["status"])["version"], two.as_str());
    // The version is stored, and a switch to the version is blocked in the same way.
    let other = edge.json("shop", &["push", path, "--no-switch"])["version"].as_str().unwrap().to_owned();
    assert_eq!(edge.run("shop", &["switch", &other, "--json"]).problem(), "fingerprint_reused");
    edge.json("shop", &["switch", &other, "--allow-refingerprint"]);
    // A rollback is always allowed, and so is a version already live with the content.
    edge.json("shop", &["rollback"]);
    edge.json("shop", &["switch", &one]);
    edge.json("shop", &["switch", &other]);
}
