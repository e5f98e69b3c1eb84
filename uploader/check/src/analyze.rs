//! Looks at every file of a folder, several at once and each alone in memory.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use devanture_config::Manifest;
use devanture_config::parsing::{Lines, Mistake, Weight};
use devanture_config::path::BundlePath;
use devanture_config::problem::Code;
use devanture_config::site_toml::check::{
    BROKEN_FRAGMENT, BROKEN_LINK, CheckTable, MISSING_ASSET, NO_HASH, SERVER_CODE, SHADOWED_FILE,
};
use devanture_project::ProjectError;
use devanture_project::bundle::scan::{FoundFile, Scan};
use devanture_site::answers::ManifestSite;
use devanture_site::rules::RuleSet;
use devanture_site::rules::restricted::RestrictedPaths;
use percent_encoding::percent_decode_str;

use super::finding::{BUNDLE, Finding};
use super::hashes::{self, Unhashed};
use super::html::{self, Page};
use super::links::{Fragment, Looker, Places};
use super::names::{self, OfFile};
use super::{secrets, server_code};

/// Upper bound of the size of analyzed files.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most threads.
const THREADS_MAX: usize = 8;
/// Upper bound of stored findings; further ones are counted.
const FINDINGS_MAX: usize = 100_000;
/// Upper bound of remembered links to fragments until every page was read, and of fragments.
const FRAGMENTS_MAX: usize = 2_000_000;
const IDS_MAX: usize = 16_000_000;

/// The findings in a folder.
#[derive(Debug, Default)]
pub struct Looked {
    /// In the order of files and lines.
    pub findings: Vec<Finding>,
    /// Number of further findings.
    pub more: usize,
    /// Files that are too large for an analysis.
    pub too_large: Vec<String>,
    /// Set if some links to fragments were not checked because of their number.
    pub has_unknown_fragments: bool,
}

impl Looked {
    /// Drops findings about links to existing files that `refused` names: a fix of the files fixes the links.
    pub(crate) fn forget_missing(&mut self, refused: &ProjectError, www: &Path) {
        let inside =
            |mistake: &Mistake| Some(format!("/{}", Path::new(&mistake.file).strip_prefix(www).ok()?.display()));
        let refused: HashSet<String> = refused.mistakes.iter().filter_map(inside).collect();
        self.findings.retain(|finding| {
            let is_link = finding.code == BROKEN_LINK || finding.code == MISSING_ASSET;
            let target = finding.target.as_deref().map(|target| target.split(['?', '#']).next().unwrap_or_default());
            !is_link || target.is_none_or(|target| !refused.contains(&*percent_decode_str(target).decode_utf8_lossy()))
        });
    }
}

/// The findings of one thread.
#[derive(Default)]
struct Part {
    looked: Looked,
    /// The fragments of each page, as sorted hashes.
    ids: Vec<(u32, Box<[u64]>)>,
    fragments: Vec<Pending>,
}

/// A link to a fragment of a page that may not have been read yet.
struct Pending {
    file: usize,
    line: usize,
    column: usize,
    fragment: Fragment,
}

/// The shared input of all threads.
struct Task<'t> {
    files: Vec<(&'t BundlePath, &'t FoundFile)>,
    places: &'t Places<'t>,
    table: &'t CheckTable,
    www: &'t Path,
    next: AtomicUsize,
    findings: AtomicUsize,
    fragments: AtomicUsize,
    ids: AtomicUsize,
    is_full: AtomicBool,
}

/// Analyzes every file of `scan`, in each place, given as a name with its rules.
///
/// # Errors
/// `internal` if a thread ended early.
pub(crate) fn look(
    scan: &Scan,
    manifest: &Manifest,
    (rules, restricted): (Vec<(String, RuleSet)>, Option<&RestrictedPaths>),
    table: &CheckTable,
    www: &Path,
    allows_doubts: bool,
) -> Result<Looked, ProjectError> {
    let site = |(name, rules): (String, RuleSet)| {
        let site = ManifestSite::new(manifest, &name, rules, restricted);
        (name, site)
    };
    let places = Places::new(rules.into_iter().map(site).collect(), manifest.files.keys());
    let task = Task {
        files: scan.files.iter().collect(),
        places: &places,
        table,
        www,
        next: AtomicUsize::new(0),
        findings: AtomicUsize::new(0),
        fragments: AtomicUsize::new(0),
        ids: AtomicUsize::new(0),
        is_full: AtomicBool::new(false),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let parts: Option<Vec<Part>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| task.run())).collect();
        threads.into_iter().map(|thread| thread.join().ok()).collect()
    });
    let parts = parts.ok_or_else(|| ProjectError::new(Code::Internal, "A file could not be looked at."))?;
    let mut looked = task.put_together(parts, scan, allows_doubts);
    task.without_hashes(scan, &mut looked);
    Ok(looked)
}

impl Task<'_> {
    fn run(&self) -> Part {
        let mut part = Part::default();
        let mut looker = self.places.looker();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((path, file)) = self.files.get(number) else { return part };
            let mut inside = FileAnalysis { task: self, part: &mut part, number, path };
            match inside.read(file) {
                Ok(Some(bytes)) => inside.look(&bytes, &mut looker),
                Ok(None) => {}
                Err(error) => inside.add(0, 0, BUNDLE, false, format!("it cannot be read: {error}"), None, None),
            }
        }
    }

    fn shown(&self, path: &BundlePath) -> String {
        let shown = self.www.join(path.as_str());
        // `./a.html` reads worse than `a.html`, and no annotation finds it.
        shown.strip_prefix(".").unwrap_or(&shown).display().to_string()
    }

    /// Combines the findings of all threads, and adds findings about all files together.
    fn put_together(&self, parts: Vec<Part>, scan: &Scan, allows_doubts: bool) -> Looked {
        let mut looked = Looked { has_unknown_fragments: self.is_full.load(Ordering::Relaxed), ..Looked::default() };
        let mut ids: HashMap<u32, Box<[u64]>> = HashMap::new();
        let mut pending = Vec::new();
        for mut part in parts {
            looked.findings.append(&mut part.looked.findings);
            looked.too_large.append(&mut part.looked.too_large);
            looked.more += part.looked.more;
            ids.extend(part.ids);
            pending.append(&mut part.fragments);
        }
        let is_there = |page: u32, id: &str| ids.get(&page).is_none_or(|own| own.binary_search(&hash(id)).is_ok());
        pending.retain(|link| {
            let Fragment { page, id } = &link.fragment;
            !is_there(*page, id) && !is_there(*page, &link.fragment.decoded())
        });
        for link in &pending {
            self.fragment(link, &mut looked);
        }
        let sizes = scan.files.iter().map(|(path, file)| (path, file.hashed.bytes));
        let of_files = names::collisions(scan.files.keys(), allows_doubts);
        let of_files = of_files.into_iter().chain(names::foreign(scan.files.keys()));
        for found in of_files.chain(names::over_limits(sizes, self.table.file_bytes_max)) {
            self.of_file(found, &mut looked);
        }
        for (path, route, place) in self.places.shadowed() {
            self.shadowed(path, route, place, &mut looked);
        }
        looked.findings.sort_unstable();
        let more = looked.findings.len().saturating_sub(FINDINGS_MAX);
        looked.findings.truncate(FINDINGS_MAX);
        looked.more += more;
        looked.too_large.sort_unstable();
        looked
    }

    fn fragment(&self, link: &Pending, looked: &mut Looked) {
        let Some((path, _)) = self.files.get(link.file) else { return };
        let page = self.places.first().and_then(|site| site.path(link.fragment.page));
        let page = page.map_or_else(String::new, ToString::to_string);
        let target = format!("{page}#{}", link.fragment.id);
        if self.table.ignores(BROKEN_FRAGMENT, path.as_str(), Some(&target)) {
            return;
        }
        looked.findings.push(Finding {
            file: self.shown(path),
            line: link.line,
            column: link.column,
            code: BROKEN_FRAGMENT,
            is_doubt: true,
            message: format!("`{page}` has no place `#{}`", link.fragment.id),
            hint: None,
            target: Some(target),
        });
    }

    /// Adds assets without hashes, in places that require hashes.
    fn without_hashes(&self, scan: &Scan, looked: &mut Looked) {
        for one in hashes::look(scan, self.places) {
            let Unhashed { path, line, column, target, message, hint } = one;
            if self.table.ignores(NO_HASH, path.as_str(), Some(&target)) {
                continue;
            }
            if looked.findings.len() >= FINDINGS_MAX {
                looked.more += 1;
                continue;
            }
            looked.findings.push(Finding {
                file: self.shown(&path),
                line,
                column,
                code: NO_HASH,
                is_doubt: true,
                message,
                hint: Some(hint.to_owned()),
                target: Some(target),
            });
        }
        looked.findings.sort_unstable();
    }

    fn shadowed(&self, path: &BundlePath, route: String, place: Option<&str>, looked: &mut Looked) {
        if self.table.ignores(SHADOWED_FILE, path.as_str(), Some(&route)) {
            return;
        }
        let place = place.map_or_else(String::new, |place| format!("in {place}: "));
        looked.findings.push(Finding {
            file: self.shown(path),
            line: 0,
            column: 0,
            code: SHADOWED_FILE,
            is_doubt: true,
            message: format!("{place}no visitor gets it: the route `{route}` takes its path before"),
            hint: Some("take the file away, or its path out of the route".to_owned()),
            target: Some(route),
        });
    }

    fn of_file(&self, found: OfFile, looked: &mut Looked) {
        let path = found.path.as_ref().map(BundlePath::as_str);
        if self.table.ignores(found.code, path.unwrap_or_default(), None) {
            return;
        }
        looked.findings.push(Finding {
            file: found.path.as_ref().map_or_else(|| self.www.display().to_string(), |path| self.shown(path)),
            line: 0,
            column: 0,
            code: found.code,
            is_doubt: found.weight == Weight::Doubt,
            message: found.message,
            hint: found.hint.map(str::to_owned),
            target: None,
        });
    }
}

/// A file under analysis.
struct FileAnalysis<'i, 't> {
    task: &'i Task<'t>,
    part: &'i mut Part,
    number: usize,
    path: &'i BundlePath,
}

impl FileAnalysis<'_, '_> {
    /// Reads the bytes of the file; `None` for a file beyond the limit.
    fn read(&mut self, found: &FoundFile) -> std::io::Result<Option<Vec<u8>>> {
        let mut file = found.path.open()?;
        if found.hashed.bytes > FILE_BYTES_MAX {
            let mut head = vec![0; 8_192];
            let count = file.read(&mut head)?;
            head.truncate(count);
            // A film is not searched.
            if !secrets::is_binary(&head) {
                self.part.looked.too_large.push(self.task.shown(self.path));
            }
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(found.hashed.bytes).unwrap_or_default());
        // The file may have grown since the hashing.
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn look(&mut self, bytes: &[u8], looker: &mut Looker<'_, '_>) {
        self.secrets(bytes);
        if self.path.is_private() {
            // Visitors cannot read a private file.
            return;
        }
        self.server_code(bytes);
        let number = u32::try_from(self.number).unwrap_or(u32::MAX);
        let is_page = self.task.places.first().is_some_and(|site| site.is_page(number));
        let is_style = self.path.as_str().to_ascii_lowercase().ends_with(".css");
        let page = match (is_page, is_style) {
            (true, _) => html::scan(bytes),
            (false, true) => Page { references: html::scan_css(bytes), ..Page::default() },
            (false, false) => return,
        };
        if is_page {
            self.keep_ids(number, &page);
        }
        self.references(bytes, &page, looker);
    }

    fn secrets(&mut self, bytes: &[u8]) {
        let found = secrets::scan(self.path.as_str(), bytes);
        if found.is_empty() {
            return;
        }
        let lines = Lines::of(bytes);
        for secret in found {
            let (line, column) = lines.place(bytes, secret.at);
            let is_private = self.path.is_private();
            let (message, hint) = match is_private {
                true => (format!("it holds {}; nobody is served it, and yet it is stored", secret.what), None),
                false => {
                    (format!("it holds {}", secret.what), Some("take it out, and make it void where it was public"))
                }
            };
            let hint = hint.filter(|_| secret.code == devanture_config::site_toml::check::SECRET);
            let is_doubt = is_private || secret.weight == Weight::Doubt;
            self.add(line, column, secret.code, is_doubt, message, hint.map(str::to_owned), None);
        }
    }

    fn server_code(&mut self, bytes: &[u8]) {
        let Some(at) = server_code::find(self.path.as_str(), bytes) else { return };
        let (line, column) = Lines::of(bytes).place(bytes, at);
        let message = "it looks like code that a server runs, and everybody can read it".to_owned();
        let hint = "run it as a backend below [server], and leave it out of the pages: `exclude` in devanture.toml";
        self.add(line, column, SERVER_CODE, true, message, Some(hint.to_owned()), None);
    }

    fn keep_ids(&mut self, number: u32, page: &Page) {
        let mut ids: Vec<u64> = page.ids.iter().map(|id| hash(id)).collect();
        ids.sort_unstable();
        ids.dedup();
        // A page without stored fragments counts as having any fragment.
        if self.task.ids.fetch_add(ids.len(), Ordering::Relaxed) > IDS_MAX {
            self.task.is_full.store(true, Ordering::Relaxed);
            return;
        }
        self.part.ids.push((number, ids.into_boxed_slice()));
    }

    fn references(&mut self, bytes: &[u8], page: &Page, looker: &mut Looker<'_, '_>) {
        let bases = looker.bases(self.path, page.base.as_deref());
        let mut lines: Option<Lines> = None;
        let mut seen: HashSet<Fragment> = HashSet::new();
        for reference in &page.references {
            let (wrong, fragment) = looker.look(reference, &bases);
            let fragment = fragment.filter(|fragment| seen.insert(fragment.clone()));
            if wrong.is_empty() && fragment.is_none() {
                continue;
            }
            let (line, column) = lines.get_or_insert_with(|| Lines::of(bytes)).place(bytes, reference.at);
            for wrong in wrong {
                self.add(line, column, wrong.code, wrong.is_doubt, wrong.message, wrong.hint, Some(wrong.target));
            }
            let Some(fragment) = fragment else { continue };
            if self.task.fragments.fetch_add(1, Ordering::Relaxed) < FRAGMENTS_MAX {
                self.part.fragments.push(Pending { file: self.number, line, column, fragment });
            } else {
                self.task.is_full.store(true, Ordering::Relaxed);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is a member of the finding")]
    fn add(
        &mut self,
        line: usize,
        column: usize,
        code: &'static str,
        is_doubt: bool,
        message: String,
        hint: Option<String>,
        target: Option<String>,
    ) {
        if self.task.table.ignores(code, self.path.as_str(), target.as_deref()) {
            return;
        }
        if self.task.findings.fetch_add(1, Ordering::Relaxed) >= FINDINGS_MAX {
            self.part.looked.more += 1;
            return;
        }
        let file = self.task.shown(self.path);
        self.part.looked.findings.push(Finding { file, line, column, code, is_doubt, message, hint, target });
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
