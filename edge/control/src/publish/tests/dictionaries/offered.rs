//! Tests of the files offered by pages as dictionaries.

use super::*;

/// A script long enough to be offered, prefixed by `begin`.
fn module(begin: &str, seed: u64, release: u64) -> Vec<u8> {
    [begin.as_bytes(), b"\n", &script(seed, release), &script(seed + 100, release)].concat()
}

async fn linked(world: &World, files: &[(&str, Vec<u8>)]) -> Vec<String> {
    let pushed = world.push(&shop(), files).await;
    let record = world.record(&shop(), &pushed.version).await.unwrap();
    record.linked.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn modules_that_a_page_imports_are_offered_and_sent_as_deltas() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let html = br#"<!doctype html><link rel=modulepreload href=/preloaded.mjs>
        <script type=importmap>{"imports": {"map": "/lib/map.mjs"}}</script>
        <script type=module>import { Map } from "map"; import "./main.js"</script>"#;
    let files = |release| {
        vec![
            ("index.html", html.to_vec()),
            ("preloaded.mjs", module("", 1, release)),
            (
                "lib/map.mjs",
                module("import './shared.mjs';const w=new URL('./worker.mjs',import.meta.url)", 2, release),
            ),
            ("lib/shared.mjs", module("import './map.mjs';export*from'../main.js'", 3, release)),
            ("lib/worker.mjs", module("", 4, release)),
            ("main.js", module("import('./later.js')", 5, release)),
            ("later.js", module("", 6, release)),
        ]
    };
    let offered = ["preloaded.mjs", "lib/map.mjs", "main.js", "lib/shared.mjs", "lib/worker.mjs"];
    assert_eq!(linked(&world, &files(1)).await, offered);
    assert_eq!(linked(&world, &files(2)).await, offered);
    for ((path, new), (_, old)) in files(2).into_iter().zip(files(1)).filter(|((path, _), _)| offered.contains(path)) {
        assert_eq!(world.deltas(&new, &old).await, QUICK, "{path}");
    }
}

#[tokio::test]
async fn imports_are_followed_through_small_modules_to_a_bounded_depth() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let html = b"<script type=module src=m0.js></script>".to_vec();
    let names: Vec<String> = (0..20).map(|number| format!("m{number}.js")).collect();
    let chain = names.iter().zip(1_u64..).map(|(name, next)| {
        let import = format!("import './m{next}.js'");
        (name.as_str(), if [2, 9, 10].contains(&next) { module(&import, next, 1) } else { import.into_bytes() })
    });
    let files: Vec<_> = [("index.html", html)].into_iter().chain(chain).collect();
    // Eight modules are followed one after the other; the eighth imports the ninth.
    assert_eq!(linked(&world, &files).await, ["m1.js", "m8.js"]);
}

#[tokio::test]
async fn a_module_that_only_some_may_read_is_neither_read_nor_offered() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path(), Compress::default(), patient()).await;
    let files = [
        ("index.html", b"<script type=module src=secret/a.js></script>".to_vec()),
        ("secret/a.js", module("import '../b.js'", 1, 1)),
        ("b.js", module("", 2, 1)),
        ("_headers", b"/secret/*\n  Basic-Auth: ann:one\n".to_vec()),
    ];
    assert_eq!(linked(&world, &files).await, [""; 0]);
}

#[tokio::test]
async fn files_are_offered_up_to_the_limit_of_their_bytes_as_they_travel() {
    let large: Vec<u8> = (1..=240).flat_map(|seed| script(seed, 1)).collect();
    let html = b"<script src=plot.js></script><script src=small.js></script>".to_vec();
    let files = [("index.html", html), ("plot.js", large), ("small.js", module("", 1, 1))];
    let few = Limits { dictionary_offered_bytes_max: 200_000, ..patient() };
    for (limits, offered) in [(patient(), vec!["plot.js", "small.js"]), (few, vec!["small.js"])] {
        let folder = tempfile::tempdir().unwrap();
        let world = world(folder.path(), Compress::default(), limits).await;
        assert_eq!(linked(&world, &files).await, offered);
        let plot = world.blobs.variants(Digest::of(&files[1].1)).await.unwrap();
        assert!(plot.iter().all(|variant| variant.size > 1024 * 1024), "{plot:?}");
    }
}
