//! Compares redirects with Netlify's own engine, the package `netlify-redirector` of npm, installed by `tools/needs`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::rules::Findings;

/// Reads a list of rules and paths, and writes the target of each: `null` if the rule is for another path.
const ENGINE: &str = r"
const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const engine = require('netlify-redirector');
(async () => {
  const found = [];
  for (const [rule, path] of cases) {
    const matcher = await engine.parsePlain(rule, { jwtSecret: 'none', jwtRoleClaim: 'none' });
    const request = {
      scheme: 'https', host: 'example.org', path, query: '', headers: {}, getHeader: () => '', getCookie: () => '',
    };
    found.push((matcher.match(request) || { to: null }).to);
  }
  console.log(JSON.stringify(found));
})();
";

/// Pairs of a rule and a path tried for each case of a property.
const PAIRS_PER_CASE: usize = 64;

/// The folder of the package, if installed; otherwise reports the skipped test, and fails where no test may be skipped.
fn packages() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let packages = target.join("tools/netlify/node_modules");
    if packages.join("netlify-redirector").is_dir() {
        return Some(packages);
    }
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    assert!(!is_set("CI") && !is_set("DEVANTURE_REQUIRE"), "netlify-redirector is not installed");
    println!("left out: netlify-redirector is not installed");
    None
}

/// The engine's target of each path by its rule.
fn of_engine(packages: &Path, pairs: &[(String, String)]) -> Vec<Option<String>> {
    let mut node = Command::new("node");
    node.args(["-e", ENGINE]).env("NODE_PATH", packages).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = node.spawn().unwrap();
    node.stdin.take().unwrap().write_all(serde_json::to_string(pairs).unwrap().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The target of a path by a rule here; a rule with any finding counts as no rule.
fn of_devanture(rule: &str, path: &str) -> Option<String> {
    let rules = super::redirects(rule, 10, &mut Findings::default());
    let rule = rules.first()?;
    let captures = rule.from.matches("example.org", path)?;
    Some(rule.to.fill(&captures).unwrap().location(None))
}

/// The engine keeps adjacent slashes; here adjacent slashes are merged, or a splat could begin another host.
fn with_single_slashes(location: &str) -> String {
    // A path may hold `://` too.
    let (scheme, rest) = match location.strip_prefix("https://") {
        Some(rest) => ("https://", rest),
        None => ("", location),
    };
    let mut rest = rest.to_owned();
    while rest.contains("//") {
        rest = rest.replace("//", "/");
    }
    format!("{scheme}{rest}")
}

/// Rules and paths of all significant elements. Excludes accidental behaviour of the engine: of two names, one a prefix
/// of the other, the first one counts, and of two adjacent `*` segments the second captures nothing or all, depending
/// on the position.
fn pairs() -> impl Strategy<Value = (String, String)> {
    let segment = prop_oneof![
        3 => prop::sample::select(vec!["a", "b", "ab", "a.b", "(a)+"]),
        2 => prop::sample::select(vec!["*", "a*", "b*", "a-*", "a.*"]),
        2 => prop::sample::select(vec![":x", ":y-z", ":w.html", ":1", ":v_v"]),
        1 => prop::sample::select(vec!["*.b", "a*b", "x:x", ":", "a**"]),
    ];
    let from = prop::collection::vec(segment, 1..5)
        .prop_filter("two stars", |segments| segments.windows(2).all(|pair| pair != ["*", "*"]));
    let piece = prop::sample::select(vec![
        ":splat",
        ":x",
        ":y-z",
        ":w.html",
        ":1",
        ":v_v",
        "/",
        "-",
        ".html",
        "c",
        ":q",
        ":splat.html",
    ]);
    let to = (prop::bool::ANY, prop::collection::vec(piece, 0..6));
    let part = prop::sample::select(vec!["a", "b", "ab", "a.b", "(a)+", "a-a", "a.", "c", "abc", ":"]);
    let path = (prop::collection::vec(part, 0..6), prop::bool::ANY);
    (from, prop::bool::ANY, to, path).prop_map(|(from, has_slash, (is_elsewhere, to), (parts, is_folder))| {
        let slash = |is_there| if is_there { "/" } else { "" };
        let origin = if is_elsewhere { "https://other.example" } else { "" };
        let rule = format!("/{}{} {origin}/to/{} 302", from.join("/"), slash(has_slash), to.concat());
        (rule, format!("/{}{}", parts.join("/"), slash(is_folder && !parts.is_empty())))
    })
}

#[test]
fn redirects_lead_where_netlifys_engine_leads() {
    let Some(packages) = packages() else { return };
    let mut runner = TestRunner::default();
    let count = usize::try_from(runner.config().cases).unwrap() * PAIRS_PER_CASE;
    let strategy = pairs();
    let pairs: Vec<_> = (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let mut led = 0;
    for ((rule, path), engine) in pairs.iter().zip(of_engine(&packages, &pairs)) {
        let expected = engine.as_deref().map(with_single_slashes);
        led += usize::from(expected.is_some());
        assert_eq!(of_devanture(rule, path), expected, "{rule} {path}");
    }
    assert!(led * 20 > count, "hardly any path has its rule, so that this says little: {led} of {count}");
}
