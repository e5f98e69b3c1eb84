//! Removes each converted rule that `check` would warn about, with a note: the output of `init` passes the check.

use std::collections::BTreeMap;

use devanture_config::manifest::FileEntry;
use devanture_config::parsing::Mistake;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::{Rules, SiteFile};
use devanture_config::{Digest, Manifest, PlaceName};
use devanture_project::Project;
use devanture_project::bundle::rules::RuleFiles;
use devanture_project::bundle::scan::Reading;
use devanture_project::bundle::{self, Bundle};
use devanture_site::rules::check::takes_all_of;
use devanture_site::rules::{Redirect, RuleTable};
use percent_encoding::percent_decode_str;

use super::moved::{Moved, Rule};

/// Removes the rules that `check` would report in the output of `text_of`, in the folder of `project`.
pub(super) fn settle(project: &Project, moved: &mut Moved, text_of: &dyn Fn(&Moved) -> String) {
    never_applied(moved);
    let place = PlaceName::prod();
    let mut bundle = None;
    // Each round removes rules, and rules blocked by them are checked in the next round.
    loop {
        let Ok(site) = SiteFile::parse(&project.file_name, &text_of(moved)) else { return };
        let project = Project { site, ..project.clone() };
        let (manifest, files) = bundle.get_or_insert_with(|| bundle_of(&project, moved));
        manifest.base.clone_from(&project.site.base);
        let found = files.findings(manifest, &project, &place);
        if !take_out(moved, &project, &place, found) {
            return;
        }
    }
}

/// Returns the bundle of the built pages; without pages, of the expected ones: the pages to which rewrites lead.
fn bundle_of(project: &Project, moved: &Moved) -> (Manifest, RuleFiles) {
    if let Ok(folders) = project.folders(None)
        && folders.www.path().is_dir()
    {
        let www = folders.www.path();
        let (scan, _) = folders.walk(false, Reading::All);
        if !scan.files.is_empty() {
            let guessed = bundle::guess_rules(&scan, project, www);
            let files = RuleFiles::read(&scan, www).unwrap_or_default();
            return (Bundle::unchecked(&scan, &project.site, guessed).manifest, files);
        }
    }
    let file = |path| (path, FileEntry { hash: Digest::of(b""), size: 0, media_type: None });
    let files = moved.rewrites.iter().filter_map(page_of).map(file).collect();
    (Manifest::of_files(files), RuleFiles::default())
}

/// Returns the page of the site to which a rewrite leads.
fn page_of(rule: &Rule) -> Option<BundlePath> {
    let path = rule.to.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = percent_decode_str(path.trim_end_matches('/')).decode_utf8().ok()?;
    BundlePath::normalised(if path.is_empty() { "index.html" } else { &path }).ok()
}

/// Removes the rules with paths that an earlier rule takes completely.
fn never_applied(moved: &mut Moved) {
    let mut kept: Vec<(Redirect, usize)> = Vec::new();
    let mut out = Vec::new();
    for table in [RuleTable::Redirects, RuleTable::Rewrites] {
        for rule in std::mem::take(rules_of(moved, table)) {
            // The rule was valid when it was added.
            let Ok(redirect) = rule.as_redirect(table) else { continue };
            match kept.iter().find(|(earlier, _)| takes_all_of(earlier, &redirect)) {
                Some((_, earlier)) => out.push((table, rule, *earlier)),
                None => {
                    kept.push((redirect, rule.line));
                    rules_of(moved, table).push(rule);
                }
            }
        }
    }
    let mut known = Vec::new();
    for (table, rule, earlier) in out {
        let setting = setting_of(moved, table);
        // Of a rule that became several, the rest still has the effect.
        let is_half = rules_of(moved, table).iter().any(|other| is_part_of_one(other, &rule));
        if is_half || known.contains(&(table, rule.line, rule.from.clone())) {
            continue;
        }
        known.push((table, rule.line, rule.from.clone()));
        if is_of_one_list(moved) && earlier > rule.line {
            let why =
                format!("`{}` comes before the redirect of line {earlier} there, and would after it here", rule.from);
            moved.lost(rule.line, setting, why, Some("in a _redirects file both keep their order"));
        } else {
            let why = format!("`{}` never applied: line {earlier} takes its paths first", rule.from);
            moved.stays(rule.line, setting, why, Some("leave it out"));
        }
    }
}

/// Returns true if two rules were one, for a folder and for all paths below the folder. A file may be a single line.
fn is_part_of_one(one: &Rule, other: &Rule) -> bool {
    let folder = |from: &str| from.strip_suffix("/*").unwrap_or(from).to_owned();
    let target = |to: &str| to.replace("/:splat", "");
    one.line == other.line && folder(&one.from) == folder(&other.from) && target(&one.to) == target(&other.to)
}

/// Returns true if redirects and rewrites are in a single list there, in which the first match counts.
fn is_of_one_list(moved: &Moved) -> bool {
    moved.rules == Some(Rules::Netlify)
}

fn setting_of(moved: &Moved, table: RuleTable) -> &'static str {
    match table {
        RuleTable::Headers | RuleTable::Cache => "headers",
        RuleTable::Rewrites if !is_of_one_list(moved) => "rewrites",
        RuleTable::Redirects | RuleTable::Rewrites => "redirects",
    }
}

fn rules_of(moved: &mut Moved, table: RuleTable) -> &mut Vec<Rule> {
    if table == RuleTable::Rewrites { &mut moved.rewrites } else { &mut moved.redirects }
}

/// Removes the rules in `found`; returns true if there were any.
fn take_out(moved: &mut Moved, project: &Project, place: &PlaceName, found: Vec<Mistake>) -> bool {
    let lines = project.site.lines_in(Some(place));
    let counts = [
        (RuleTable::Headers, moved.headers.len()),
        (RuleTable::Redirects, moved.redirects.len()),
        (RuleTable::Rewrites, moved.rewrites.len()),
    ];
    let all = counts.into_iter().flat_map(|(table, count)| (0..count).map(move |index| (table, index)));
    let by_place: BTreeMap<(String, usize), (RuleTable, usize)> = all
        .map(|(table, index)| {
            let at = lines.at(table, index);
            ((at.file.to_string(), at.line), (table, index))
        })
        .collect();
    let mut out: BTreeMap<(RuleTable, usize), Mistake> = BTreeMap::new();
    for finding in found {
        if let Some(rule) = by_place.get(&(finding.file.clone(), finding.line)) {
            out.entry(*rule).or_insert(finding);
        }
    }
    let has_any = !out.is_empty();
    // From the last, so that the other indexes stay valid.
    for ((table, index), finding) in out.into_iter().rev() {
        let line = match table {
            RuleTable::Headers | RuleTable::Cache => moved.headers.remove(index).line,
            RuleTable::Redirects | RuleTable::Rewrites => rules_of(moved, table).remove(index).line,
        };
        moved.lost(line, setting_of(moved, table), finding.message, finding.hint.as_deref());
    }
    has_any
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::moved::NoteKind;
    use crate::testing::{NOTHING, notes, rules, written};
    use crate::{firebase, netlify, toml_out, vercel};

    fn project() -> Project {
        // No site is built there.
        Project { file_name: "devanture.toml".to_owned(), folder: "src/none".into(), ..Project::default() }
    }

    fn text_of(moved: &Moved) -> String {
        toml_out::site_file(moved, "them", "shop", Some("none"))
    }

    /// Checks that `check` has no finding about the output.
    #[track_caller]
    fn passes_check(moved: &Moved) {
        let site = SiteFile::parse("devanture.toml", &text_of(moved)).unwrap();
        let project = Project { site, ..project() };
        let (mut manifest, files) = bundle_of(&project, moved);
        manifest.base.clone_from(&project.site.base);
        let found = files.findings(&manifest, &project, &PlaceName::prod());
        assert!(found.is_empty(), "{found:?}\n{}", text_of(moved));
    }

    fn settled(mut moved: Moved) -> Moved {
        settle(&project(), &mut moved, &text_of);
        written(&moved);
        moved
    }

    #[test]
    fn what_is_moved_holds_no_rule_that_a_push_doubts() {
        let vercel_of = |rules: Value| settled(vercel::read(&rules.to_string(), &NOTHING).unwrap());
        let rule = |source: &str, destination: &str| json!({ "source": source, "destination": destination });
        for (list, expected, noted) in [
            // A folder, and then all paths below the folder.
            (
                vec![rule("/docs", "/learn"), rule("/docs/:path*", "/guide/:path*")],
                &["/docs -> /learn 308 force", "/docs/* -> /guide/:splat 308 force"][..],
                &[][..],
            ),
            (
                vec![rule("/docs/:path*", "/guide/:path*"), rule("/docs", "/learn"), rule("/docs/a", "/b")],
                &["/docs -> /guide 308 force", "/docs/* -> /guide/:splat 308 force"],
                &["`/docs` never applied", "`/docs/a` never applied"],
            ),
            (
                vec![rule("/a/:x", "/b/:x"), rule("/a/:y", "/c/:y"), rule("/a/1", "/d")],
                &["/a/:x -> /b/:x 308 force"],
                &["`/a/:y` never applied", "`/a/1` never applied"],
            ),
            (vec![rule("/a", "/a/")], &[], &["leads around in a circle"]),
            (vec![rule("/a", "/b"), rule("/b", "/a"), rule("/c", "/d")], &["/c -> /d 308 force"], &["circle"]),
            (vec![rule("/a", "/b/:nothing")], &[], &["nothing of its path is called"]),
            (vec![rule("/a", "/b/*")], &[], &["is sent as it is"]),
        ] {
            let moved = vercel_of(json!({ "redirects": list }));
            let kept = rules(&moved);
            if noted == ["circle"] {
                assert!(kept.len() < 3 && kept.contains(&expected[0].to_owned()), "{kept:?}");
            } else {
                assert_eq!(kept, expected, "{:?}", moved.notes);
            }
            let all = [notes(&moved, NoteKind::Lost), notes(&moved, NoteKind::Stays)].concat();
            for part in noted {
                assert!(all.iter().any(|note| note.contains(part)), "{part}: {all:?}");
            }
            assert_eq!(noted.is_empty(), all.is_empty(), "{all:?}");
            passes_check(&moved);
        }
    }

    #[test]
    fn a_rewrite_that_here_comes_after_its_redirect_is_reported() {
        let text = "[[redirects]]\nfrom = \"/a/b\"\nto = \"/b.html\"\nstatus = 200\n\
            [[redirects]]\nfrom = \"/a/*\"\nto = \"/c/:splat\"\nstatus = 301\n";
        let moved = settled(netlify::read(Some(text), &NOTHING).unwrap());
        assert_eq!(rules(&moved), ["/a/* -> /c/:splat 301"]);
        assert!(notes(&moved, NoteKind::Differs).len() + notes(&moved, NoteKind::Lost).len() > 0, "{:?}", moved.notes);
        passes_check(&moved);
    }

    /// Typical paths of such files, with few names, so that they collide.
    fn source(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(pieces), 1..4).prop_map(|pieces| pieces.concat())
    }

    fn target() -> impl Strategy<Value = String> {
        let targets = vec![
            "/a",
            "/a/",
            "/a/b",
            "/b/:x",
            "/b/:path*",
            "/b/:splat",
            "/",
            "/c.html",
            "https://x.example/:path*",
            "/a/*",
            "/b/:none",
        ];
        prop::sample::select(targets).prop_map(str::to_owned)
    }

    const VERCEL: &[&str] = &["/a", "/b", "/:x", "/:path*", "/(.*)", "/:y+", "/:z?", "/", "/(a|b)"];
    const FIREBASE: &[&str] = &["/a", "/b", "/**", "/*", "/:x", "/:path*", "{,/**}", "/@(a|b)"];
    const NETLIFY: &[&str] = &["/a", "/b", "/:x", "/*", "/"];

    proptest! {
        #[test]
        fn what_is_written_passes_check(
            of_vercel in prop::collection::vec((source(VERCEL), target(), any::<bool>()), 0..6),
            of_firebase in prop::collection::vec((source(FIREBASE), target(), any::<bool>()), 0..6),
            of_netlify in prop::collection::vec((source(NETLIFY), target(), any::<bool>(), any::<bool>()), 0..6),
        ) {
            let halves = |rules: Vec<(String, String, bool)>| {
                let (redirects, rewrites) = rules.into_iter().partition(|(.., is_redirect)| *is_redirect);
                let list = |rules: Vec<(String, String, bool)>| {
                    let one = |(source, destination, _): (String, String, bool)| {
                        json!({ "source": source, "destination": destination })
                    };
                    Value::Array(rules.into_iter().map(one).collect())
                };
                json!({ "redirects": list(redirects), "rewrites": list(rewrites) })
            };
            let moved = settled(vercel::read(&halves(of_vercel).to_string(), &NOTHING).unwrap());
            passes_check(&moved);
            let hosting = json!({ "hosting": halves(of_firebase) }).to_string();
            let moved = settled(firebase::read(&hosting, None, &NOTHING).unwrap());
            passes_check(&moved);
            let one = |(from, to, is_redirect, force): (String, String, bool, bool)| {
                json!({ "from": from, "to": to, "status": if is_redirect { 301 } else { 200 }, "force": force })
            };
            let rules: Vec<Value> = of_netlify.into_iter().map(one).collect();
            let text = toml::to_string(&json!({ "redirects": rules })).unwrap();
            let moved = settled(netlify::read(Some(&text), &NOTHING).unwrap());
            passes_check(&moved);
        }
    }
}
