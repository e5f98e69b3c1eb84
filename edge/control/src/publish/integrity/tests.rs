//! Tests of pages with hashes: identity of pages, reuse, reports of pushes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use devanture_config::PlaceName;
use devanture_config::api::DeployEvent;
use devanture_config::site_toml::SiteFile;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::encode::{Pool, Priority};
use devanture_serve::live::{Domains, Grace, Live};
use devanture_serve::version::RuleMemory;
use devanture_store::blobs::{self, Blobs};
use devanture_store::catalog::{self, Catalog, Change, Commit};
use devanture_store::records::StoredSource;

/// Bundle with stored files.
struct Bundle {
    _folder: tempfile::TempDir,
    blobs: Arc<dyn Blobs>,
    catalog: Arc<dyn Catalog>,
    ledger: Ledger,
    pool: Pool,
    manifest: Manifest,
    fresh: HashSet<Digest>,
}

fn shop() -> AppName {
    "shop".parse().unwrap()
}

fn entry(text: &str) -> FileEntry {
    FileEntry { hash: Digest::of(text.as_bytes()), size: text.len() as u64, media_type: None }
}

/// Stores a page with the given bytes.
fn page(text: &str) -> DecodedFile {
    let FileEntry { hash, size, .. } = entry(text);
    DecodedFile { hash, size }
}

/// Returns the hash of a script as written in a page.
fn named(script: &str) -> String {
    format!("sha256-{}", STANDARD.encode(sha256(script.as_bytes()).as_bytes()))
}

impl Bundle {
    /// Stores files, with `site` as `devanture.toml`.
    async fn stored(files: &[(&str, &str)], site: &str, limits: &Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs::open(folder.path().to_owned()).unwrap();
        let catalog = catalog::open(&folder.path().join("catalog.redb")).unwrap();
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
        let ledger = Ledger::new(Arc::clone(&catalog), live, limits);
        let mut manifest =
            Manifest::of_files(files.iter().map(|(path, text)| (path.parse().unwrap(), entry(text))).collect());
        let site = SiteFile::parse("devanture.toml", site).unwrap();
        (manifest.base, manifest.env) = (site.base, site.env);
        for (_, text) in files {
            blobs.put(Key::Blob(entry(text).hash), Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
        }
        let pool = Pool::new("test", 1, Priority::Low);
        Self { _folder: folder, blobs, catalog, ledger, pool, manifest, fresh: HashSet::new() }
    }

    fn work(&self) -> Work<'_> {
        Work {
            blobs: &*self.blobs,
            manifest: &self.manifest,
            fresh: &self.fresh,
            pool: &self.pool,
            file_bytes_max: 1 << 20,
            decoded_file_bytes_max: 0,
            decoded_bytes_max: 0,
            decoded_ratio_max: 0,
        }
    }

    /// Returns the pages made by a push, and the push's report.
    async fn hashed(&self) -> (Vec<IntegrityPages>, String) {
        self.hashed_within(self.work().file_bytes_max).await
    }

    /// As `hashed`, with a limit on the length of files read.
    async fn hashed_within(&self, file_bytes_max: u64) -> (Vec<IntegrityPages>, String) {
        let reporter = crate::switch::Steps::new(None).reporter("compress");
        let (mut given, app, version) = (Given::default(), shop(), self.manifest.id());
        let rule_reader = RuleMemory::new(&Limits::default()).reader(&app, "prod");
        let (of, work) = ((&self.ledger, &app, &version), Work { file_bytes_max, ..self.work() });
        let added = add((&work, &reporter), &mut given, of, &rule_reader).await.unwrap();
        (given.integrity, added.report.unwrap())
    }

    /// Returns the page at `path` as served in an environment.
    async fn page(&self, pages: &[IntegrityPages], environment: &str, path: &str) -> String {
        let page = IntegrityPages::of_table(pages, &self.manifest, environment).pages[path];
        let bytes = self.blobs.get(Key::Blob(page.hash)).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// Returns true if a push with `tables` reuses the pages of a record.
    async fn takes(&self, record: &VersionRecord, tables: &[&str]) -> bool {
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        held_if_whole(&self.work(), &self.ledger, &tables, record).await.unwrap().is_some()
    }
}

/// A browser that enforces the policy would block the module with a wrong hash.
#[tokio::test]
async fn a_module_that_is_another_file_in_one_environment_has_the_hash_of_that_file_there() {
    let (one, two) = ("export const lib = 1", "export const lib = 2");
    let files = [
        ("index.html", "<!doctype html><script type=module src=/main.js></script>"),
        ("main.js", "import '/lib.js'"),
        ("one/lib.js", one),
        ("two/lib.js", two),
    ];
    let site = "integrity = \"enforce\"\n[[rewrites]]\nfrom = \"/lib.js\"\nto = \"/one/lib.js\"\n\
                [[env.staging.rewrites]]\nfrom = \"/lib.js\"\nto = \"/two/lib.js\"\n";
    let bundle = Bundle::stored(&files, site, &Limits::default()).await;
    let (pages, report) = bundle.hashed().await;
    assert_eq!(report, "hashes in 2 pages");
    for (environment, own, other) in [("prod", one, two), ("staging", two, one)] {
        let page = bundle.page(&pages, environment, "index.html").await;
        assert!(page.contains(&format!("\"/lib.js\":\"{}\"", named(own))), "{environment}: {page}");
        assert!(!page.contains(&named(other)), "{environment}: {page}");
    }
}

#[tokio::test]
async fn equal_pages_that_reach_equal_modules_at_other_addresses_name_their_own_addresses() {
    let page = "<!doctype html><script type=module src=main.js></script>";
    let (main, lib) = ("import './lib.js'", "export const lib = 1");
    let files = [
        ("a/index.html", page),
        ("a/lib.js", lib),
        ("a/main.js", main),
        ("b/index.html", page),
        ("b/lib.js", lib),
        ("b/main.js", main),
    ];
    let bundle = Bundle::stored(&files, "integrity = \"enforce\"\n", &Limits::default()).await;
    let (pages, _) = bundle.hashed().await;
    for (folder, other) in [("a", "b"), ("b", "a")] {
        let page = bundle.page(&pages, "prod", &format!("{folder}/index.html")).await;
        assert!(page.contains(&format!("\"/{folder}/lib.js\":\"{}\"", named(lib))), "{folder}: {page}");
        assert!(!page.contains(&format!("\"/{other}/")), "{folder}: {page}");
    }
}

/// `staging` has no route, so its page has one more hash.
const FILES: [(&str, &str); 3] = [
    ("index.html", "<!doctype html><script src=/a.js></script><script src=/api/b.js></script>"),
    ("a.js", "alert('a')"),
    ("api/b.js", "alert('b')"),
];
const SITE: &str = "integrity = \"enforce\"\n[[routes]]\npath = \"/api/*\"\nto = \"https://api.example.org\"\n\
    [env.next]\nintegrity = \"report\"\n[env.preview]\nintegrity = \"off\"\n[env.staging]\nroutes = []\n";

#[tokio::test]
async fn environments_share_pages_that_are_equal_and_those_without_hashes_have_none() {
    let bundle = Bundle::stored(&FILES, SITE, &Limits::default()).await;
    let (pages, report) = bundle.hashed().await;
    assert_eq!(report, "hashes in 2 pages");
    let tables: Vec<Vec<&str>> = pages.iter().map(|group| group.tables.iter().map(String::as_str).collect()).collect();
    assert_eq!(tables, [vec!["", "next"], vec!["staging"]]);
    for (environment, is_named) in [("prod", false), ("next", false), ("staging", true)] {
        let page = bundle.page(&pages, environment, "index.html").await;
        let (a, b) = (page.contains(&named(FILES[1].1)), page.contains(&named(FILES[2].1)));
        assert_eq!((a, b), (true, is_named), "{environment}: {page}");
    }
    assert!(IntegrityPages::of_table(&pages, &bundle.manifest, "preview").pages.is_empty());
}

#[tokio::test]
async fn a_push_says_how_many_environments_no_steps_were_left_for() {
    let limits = Limits { integrity_steps_max: 0, ..Limits::default() };
    let (pages, report) = Bundle::stored(&FILES, SITE, &limits).await.hashed().await;
    assert_eq!(report, "hashes in 0 pages; 3 environments without (integrity_steps_max)");
    assert_eq!(pages, []);
}

/// The version's record names every page of each group; the report omits limits without effect.
#[tokio::test]
async fn pages_differ_between_so_many_environments_at_most_and_a_push_says_how_many_there_are_beside() {
    let names: Vec<String> = (0..GROUPS_MAX).map(|number| format!("s{number:02}/a.js")).collect();
    let tags: String = names.iter().map(|name| format!("<script src=/{name}></script>")).collect();
    let page = format!("<!doctype html>{tags}");
    let scripts = names.iter().map(|name| (name.as_str(), "alert()"));
    let files: Vec<(&str, &str)> = std::iter::once(("index.html", page.as_str())).chain(scripts).collect();
    let mut site = "integrity = \"enforce\"\n".to_owned();
    for number in 0..GROUPS_MAX {
        site.push_str(&format!("[[env.place-{number:02}.routes]]\npath = \"/s{number:02}/*\"\n"));
        site.push_str("to = \"https://api.example.org\"\n");
    }
    let bundle = Bundle::stored(&files, &site, &Limits::default()).await;
    let (pages, report) = bundle.hashed().await;
    let expected = "hashes in 16 pages; 1 environment without: pages may differ between 16 at most";
    assert_eq!((pages.len(), report.as_str()), (GROUPS_MAX, expected));
    let of = |environment: &str| IntegrityPages::of_table(&pages, &bundle.manifest, environment).pages.len();
    assert_eq!((of("prod"), of("place-14"), of("place-15")), (1, 1, 0));
}

#[test]
fn a_report_names_what_there_is_of_and_nothing_else() {
    assert_eq!(PageCounts { made: 1, ..PageCounts::default() }.text(), "hashes in 1 page");
    let all = PageCounts { made: 7, left_out: 1, unfit: 2, too_many: 3, refusing: 4, tables: 5, differing: 6 }.text();
    let parts: Vec<&str> = all.split("; ").collect();
    let expected = [
        "hashes in 7 pages",
        "1 page without (integrity_page_bytes_max,",
        "2 pages without: `devanture check` says why",
        "3 pages without: too many modules",
        "4 pages without, with a Content-Security-Policy",
        "5 environments without (integrity_steps_max)",
        "6 environments without: pages may differ",
    ];
    assert_eq!(parts.len(), expected.len(), "{all}");
    assert!(parts.iter().zip(expected).all(|(part, expected)| part.starts_with(expected)), "{all}");
}

/// Returns the progress reports of `count` pages.
async fn progress(count: usize) -> Vec<String> {
    let bundle = Bundle::stored(&[], "", &Limits::default()).await;
    let (sink, mut events) = unbounded_channel();
    let reporter = crate::switch::Steps::new(Some(sink)).reporter("compress");
    let assets = Arc::new(PageAssets::read(b"<p>").unwrap());
    let page = |number: usize| {
        let path = format!("{number}.html").parse().unwrap();
        ExaminedPage { path, entry: entry("<p>"), assets: Arc::clone(&assets) }
    };
    let loads = |number: usize| {
        let key = Digest::of(&number.to_le_bytes());
        Ok(PageLoads { files: Vec::new(), modules: Modules::default(), key })
    };
    let pages: Vec<ExaminedPage> = (0..count).map(page).collect();
    let loads = EnvironmentLoads { pages: (0..count).map(loads).collect() };
    let work = bundle.work();
    PageMaker::of(&work, &reporter).make(&pages, &loads).await.unwrap();
    let mut lines = Vec::new();
    while let Ok(event) = events.try_recv() {
        let DeployEvent::Step(step) = event else { panic!("no step") };
        lines.push(step.detail);
    }
    lines
}

#[tokio::test]
async fn a_push_of_many_pages_says_now_and_then_how_many_are_made() {
    assert_eq!(progress(PAGES_A_REPORT).await, Vec::<String>::new());
    let expected = ["hashes in 250 of 501 pages", "hashes in 500 of 501 pages"];
    assert_eq!(progress(2 * PAGES_A_REPORT + 1).await, expected);
}

fn record(integrity: Vec<IntegrityPages>, decoded: &[&str]) -> VersionRecord {
    VersionRecord {
        stored_ms: 1,
        again_ms: None,
        who: String::new(),
        trusted: true,
        edge_admin: None,
        trusted_in: BTreeSet::new(),
        reach: None,
        source: StoredSource::default(),
        files: 0,
        bytes: 0,
        given: BTreeMap::new(),
        decoded: decoded.iter().map(|path| (path.parse().unwrap(), page("decoded"))).collect(),
        integrity,
        quick: false,
    }
}

/// Pages of the environments without a table, as pairs of path and page bytes.
fn group(pages: &[(&str, &str)]) -> IntegrityPages {
    let pages = pages.iter().map(|(path, text)| (path.parse().unwrap(), page(text))).collect();
    IntegrityPages {
        made: IntegrityPages::MADE,
        tables: [OTHERS.to_owned()].into(),
        pages,
        ..IntegrityPages::default()
    }
}

/// Otherwise visitors would get pages of an older edge, or pages without hashes, push after push.
#[tokio::test]
async fn stored_pages_are_taken_again_where_all_are_there_and_would_become_the_same() {
    let files = [("about.html", "about"), ("index.html", "index"), ("notes.txt", "notes"), ("made.txt", "made")];
    let bundle = Bundle::stored(&files, "", &Limits::default()).await;
    let decoded = ["data.json", "old.html"];
    let pages = [("about.html", "about"), ("index.html", "made"), ("old.html", "notes")];
    let whole = record(vec![group(&pages)], &decoded);
    assert!(bundle.takes(&whole, &[OTHERS]).await);
    assert!(!bundle.takes(&whole, &[OTHERS, "staging"]).await, "another environment wants them now");
    let by_another_edge = IntegrityPages { made: IntegrityPages::MADE - 1, ..group(&pages) };
    for (why, other) in [
        ("they would be made otherwise", by_another_edge),
        ("a page of the bundle is missing", group(&pages[1..])),
        ("a page that came compressed alone is missing", group(&pages[..2])),
        ("a page is not stored", group(&[pages[0], pages[1], ("old.html", "lost")])),
    ] {
        assert!(!bundle.takes(&record(vec![other], &decoded), &[OTHERS]).await, "{why}");
    }
    let mut cut = group(&pages);
    cut.pages.values_mut().for_each(|page| page.size += 1);
    assert!(!bundle.takes(&record(vec![cut], &decoded), &[OTHERS]).await, "they have other lengths");
}

/// The record may be deleted before the push has written its own.
#[tokio::test]
async fn stored_pages_that_are_taken_again_are_held_meanwhile() {
    let bundle = Bundle::stored(&[("index.html", "index"), ("made.txt", "made")], "", &Limits::default()).await;
    let whole = record(vec![group(&[("index.html", "made")])], &[]);
    let tables = [OTHERS.to_owned()];
    let lease = held_if_whole(&bundle.work(), &bundle.ledger, &tables, &whole).await.unwrap().unwrap();
    let is_held = async || bundle.ledger.leases.closed().await.holds(Key::Blob(page("made").hash));
    assert!(is_held().await);
    drop(lease);
    assert!(!is_held().await);
}

/// Makes a version live.
fn live(environment: &str, version: VersionId) -> Change {
    let pointer = LivePointer {
        version,
        settings: 0,
        switched_ms: 0,
        deploy: String::new(),
        begun: 1,
        position: String::new(),
        halves_begun: None,
        canary: None,
        pins: None,
    };
    let environment: PlaceName = environment.parse().unwrap();
    Change::Put(records::live_key(&shop(), &environment), records::write(&pointer).unwrap())
}

/// Stores the record of a version with the pages.
fn stored_with(version: VersionId, pages: IntegrityPages) -> Change {
    let record = record(vec![IntegrityPages::default(), pages], &[]);
    Change::Put(records::version_key(&shop(), &version), records::write(&record).unwrap())
}

#[tokio::test]
async fn the_pages_of_every_version_that_is_live_in_an_environment_are_known() {
    let bundle = Bundle::stored(&[], "", &Limits::default()).await;
    let [one, two, three, lost] = [b"1", b"2", b"3", b"4"].map(|text| VersionId::of(text));
    let changes = vec![
        live("prod", one),
        live("staging", two),
        live("broken", lost),
        stored_with(one, group(&[("about.html", "a"), ("index.html", "b")])),
        stored_with(two, group(&[("index.html", "c")])),
        stored_with(three, group(&[("index.html", "d")])),
    ];
    bundle.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    let expected: HashSet<Digest> = ["a", "b", "c"].into_iter().map(|text| page(text).hash).collect();
    assert_eq!(live_pages(&bundle.ledger, &shop()).await.unwrap(), expected);
}

#[tokio::test]
async fn a_page_with_hashes_is_compressed_by_the_first_push_of_it_and_not_again_while_it_is_live() {
    let html = format!("<!doctype html><script src=/a.js></script>{}", "<p>all pages are alike</p>".repeat(100));
    let files = [("index.html", html.as_str()), ("a.js", "alert('a')")];
    let first = Bundle::stored(&files, "integrity = \"enforce\"\n", &Limits::default()).await;
    let (pages, _) = first.hashed().await;
    let made = pages[0].pages["index.html"].hash;
    assert_ne!(made, entry(&html).hash);
    assert!(!first.blobs.variants(made).await.unwrap().is_empty());
    let again = Bundle::stored(&files, "integrity = \"enforce\"\n", &Limits::default()).await;
    let version = VersionId::of(b"another");
    let changes = vec![live("prod", version), stored_with(version, pages[0].clone())];
    again.catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
    assert_eq!(again.hashed().await.0, pages);
    assert!(again.blobs.variants(made).await.unwrap().is_empty());
}

#[tokio::test]
async fn pages_beyond_a_limit_of_their_length_or_their_number_are_left_out() {
    let (short, long) = ("<script src=/a.js></script>", "<script src=/a.js></script><p>longer</p>");
    let files = [("a.js", "alert('a')"), ("long.html", long), ("short.html", short), ("tiny.html", "<p>")];
    let all = "hashes in 2 pages";
    let but_one = "hashes in 1 page; 1 page without (integrity_page_bytes_max, integrity_pages_max, \
                   integrity_memory_bytes_max)";
    for (page_bytes_max, pages_max, expected) in [(long.len(), 3, all), (long.len() - 1, 3, but_one)] {
        let limits = Limits {
            integrity_page_bytes_max: page_bytes_max as u64,
            integrity_pages_max: pages_max,
            ..Limits::default()
        };
        let (_, report) = Bundle::stored(&files, "integrity = \"enforce\"\n", &limits).await.hashed().await;
        assert_eq!(report, expected);
    }
    let limits = Limits { integrity_pages_max: 1, ..Limits::default() };
    let (pages, report) = Bundle::stored(&files, "integrity = \"enforce\"\n", &limits).await.hashed().await;
    assert!(report.starts_with("hashes in 1 page; 2 pages without (integrity_page_bytes_max"), "{report}");
    assert_eq!(pages[0].pages.len(), 1);
}

/// A bundle may hold files longer than the limit of files read into memory.
#[tokio::test]
async fn a_file_beyond_the_longest_that_is_read_has_no_hash_and_the_others_have_theirs() {
    let (short, long) = ("alert('a')", "alert('longer')");
    let html = "<!doctype html><script src=/a.js></script><script src=/b.js></script>";
    let files = [("index.html", html), ("a.js", short), ("b.js", long)];
    let bundle = Bundle::stored(&files, "integrity = \"enforce\"\n", &Limits::default()).await;
    let names = async |file_bytes_max: usize| {
        let (pages, _) = bundle.hashed_within(file_bytes_max as u64).await;
        let page = bundle.page(&pages, "prod", "index.html").await;
        (page.contains(&named(short)), page.contains(&named(long)))
    };
    assert_eq!(names(long.len()).await, (true, true));
    bundle.blobs.delete(Key::Blob(entry(long).hash)).await.unwrap();
    assert_eq!(names(long.len() - 1).await, (true, false));
}
