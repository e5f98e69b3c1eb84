//! Resolves a decoded path to a file, by the site's `html_handling`.
//!
//! Three of the modes follow Cloudflare, decision by decision: a path that is another spelling of a page's address is
//! redirected, but only if the target is no file itself and would answer with exactly the same page. `AsIs` is
//! Devanture's own and never redirects. A client is redirected once: if the target would redirect again, the final
//! target is named.

mod not_found_pages;

use std::sync::Arc;

use devanture_config::heap::{HeapBytes, allocated};
use devanture_config::path::BundlePath;
use devanture_config::site_toml::HtmlHandling;

use super::name_table::{NameTable, Span};
use not_found_pages::NotFoundPages;

/// Maximum redirects followed to name the final target; known sites need at most two.
const REDIRECTS_MAX: usize = 4;

/// The result for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The file of the number.
    File(u32),
    /// A page with its address at the decoded path; the caller encodes the path and adds the query.
    Redirect(String),
    /// No content of the site.
    Missing,
}

/// The files of one name without its final slash, so that a single lookup finds all of them.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// `name`
    exact: Option<u32>,
    /// `name.html`
    html: Option<u32>,
    /// `name/index.html`
    index: Option<u32>,
}

/// An [`Entry`] as stored: with [`NONE`] for an absent file, half the size.
#[derive(Debug, Clone, Copy)]
struct Kept {
    exact: u32,
    html: u32,
    index: u32,
}

/// No file.
const NONE: u32 = u32::MAX;

impl Kept {
    const NOTHING: Self = Self { exact: NONE, html: NONE, index: NONE };

    #[inline]
    fn entry(self) -> Entry {
        let [exact, html, index] = [self.exact, self.html, self.index].map(|number| (number != NONE).then_some(number));
        Entry { exact, html, index }
    }
}

/// The public paths of a bundle, prepared for lookups without allocation.
#[derive(Debug, Clone, Default)]
pub struct PathIndex {
    /// All paths, each after a slash.
    text: Arc<str>,
    names: NameTable<Kept>,
    /// Each `404.html`.
    not_found_pages: NotFoundPages,
}

impl PathIndex {
    /// Makes an index with the position of each path in `paths` as its number; private paths are left out, but counted.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p BundlePath>) -> Self {
        let (mut text, mut public) = (String::new(), Vec::new());
        for (number, path) in (0..).zip(paths).filter(|(_, path)| !path.is_private()) {
            text.push('/');
            public.push((number, text.len(), path.as_str().len()));
            text.push_str(path.as_str());
        }
        let text: Arc<str> = text.into();
        let mut index = Self { text: Arc::clone(&text), ..Self::default() };
        for (number, begin, length) in public {
            index.insert((begin, text.get(begin..begin.saturating_add(length)).unwrap_or_default()), number);
        }
        index.names.shrink();
        index.not_found_pages.sort();
        index
    }

    /// The text that contains the names, each path after a slash.
    pub(crate) const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Makes files answer under the names of other files too, in place of those files: pairs of a name and the path of
    /// the file, of which the last pair of a name counts.
    pub fn name_also<'p>(&mut self, names: impl IntoIterator<Item = (&'p BundlePath, &'p BundlePath)>) {
        let (mut text, mut places) = (self.text.to_string(), Vec::new());
        for (name, path) in names {
            let Some(number) = self.exact(path.as_str()) else { continue };
            let begin = match self.exact(name.as_str()) {
                // The text already contains the names.
                Some(_) => 0,
                None => {
                    text.push('/');
                    let begin = text.len();
                    text.push_str(name.as_str());
                    begin
                }
            };
            places.push((begin, name, number));
        }
        if places.is_empty() {
            return;
        }
        self.text = text.into();
        for (begin, name, number) in places {
            self.insert((begin, name.as_str()), number);
        }
        self.names.shrink();
        self.not_found_pages.sort();
    }

    /// The file at exactly the path, without a leading slash as in a bundle, or with one as in a request.
    #[must_use]
    pub fn exact(&self, path: &str) -> Option<u32> {
        self.names.get(&self.text, path.strip_prefix('/').unwrap_or(path))?.entry().exact
    }

    /// The file of a rewrite to `path`: the exact file, else its page, never by a redirect.
    #[must_use]
    pub fn page_at(&self, path: &str) -> Option<u32> {
        served(self.entry(path), HtmlHandling::AsIs, path)
    }

    /// The page of a single-page application for navigations: `/index.html`.
    #[must_use]
    pub fn shell(&self) -> Option<u32> {
        self.exact("index.html")
    }

    /// Adds the names of `path`, which begins at `begin` in the text, as do all names of the path.
    fn insert(&mut self, (begin, path): (usize, &str), number: u32) {
        let text = Arc::clone(&self.text);
        let mut change = |name: &str, change: fn(&mut Kept, u32)| {
            if let Some(span) = Span::new(begin, name.len()) {
                self.names.change(&text, (name, span), Kept::NOTHING, |kept| change(kept, number));
            }
        };
        change(path, |kept, number| kept.exact = number);
        if let Some(name) = path.strip_suffix(".html") {
            change(name, |kept, number| kept.html = number);
        }
        let (folder, file_name) = path.rsplit_once('/').unwrap_or(("", path));
        match file_name {
            "index.html" => change(folder, |kept, number| kept.index = number),
            "404.html" => {
                self.not_found_pages.add(folder, number);
            }
            _ => {}
        }
    }

    /// The entry of the name of `path`; a path with a final slash has no exact file.
    fn entry(&self, path: &str) -> Entry {
        let name = path.strip_prefix('/').unwrap_or(path);
        let (name, is_folder) = match name.strip_suffix('/') {
            Some(name) => (name, true),
            None => (name, name.is_empty()),
        };
        let mut entry = self.names.get(&self.text, name).map(Kept::entry).unwrap_or_default();
        if is_folder {
            entry.exact = None;
        }
        entry
    }
}

impl HeapBytes for PathIndex {
    fn heap_bytes(&self) -> usize {
        allocated(self.text.len() + 2 * size_of::<usize>())
            + self.names.heap_bytes()
            + self.not_found_pages.heap_bytes()
    }
}

/// Resolves the normalized `decoded_path`; see `target`.
#[must_use]
pub fn resolve(index: &PathIndex, handling: HtmlHandling, decoded_path: &str) -> Resolution {
    let found = match one_step(index, handling, decoded_path) {
        Step::File(number) => return Resolution::File(number),
        Step::Missing => return Resolution::Missing,
        Step::Redirect { to, page } => last_redirect(index, handling, to, page),
    };
    // A redirect that would end at another page is invalid: the file, if any, answers under its own name.
    let here = || served(index.entry(decoded_path), handling, decoded_path).map(Resolution::File);
    found.map(Resolution::Redirect).or_else(here).unwrap_or(Resolution::Missing)
}

/// The file that a visitor of `decoded_path` reaches, directly or by the redirect to a page's address.
#[must_use]
pub fn ends_at(index: &PathIndex, handling: HtmlHandling, decoded_path: &str) -> Option<u32> {
    let found = match resolve(index, handling, decoded_path) {
        Resolution::Redirect(to) => resolve(index, handling, &to),
        found => found,
    };
    match found {
        Resolution::File(number) => Some(number),
        // A redirect names the final target.
        Resolution::Redirect(_) | Resolution::Missing => None,
    }
}

/// Every address at which some page handling finds the file at `path` of a bundle, its own first.
#[must_use]
pub fn addresses(path: &str) -> Vec<String> {
    let own = format!("/{path}");
    let mut all = Vec::with_capacity(5);
    if let Some(name) = own.strip_suffix(".html") {
        all.extend([name.to_owned(), format!("{name}/")]);
        // The folder with its slash, and without if a name remains.
        if let Some(folder) = name.strip_suffix("index").filter(|folder| folder.ends_with('/')) {
            all.push(folder.to_owned());
            all.extend(folder.strip_suffix('/').filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    all.insert(0, own);
    all
}

/// The final target of a redirect to `to`, if `page` answers there.
fn last_redirect(index: &PathIndex, handling: HtmlHandling, mut to: String, wanted: u32) -> Option<String> {
    for _ in 0..REDIRECTS_MAX {
        match one_step(index, handling, &to) {
            Step::File(number) => return (number == wanted).then_some(to),
            Step::Redirect { to: next, page } if page == wanted => to = next,
            Step::Missing | Step::Redirect { .. } => return None,
        }
    }
    None
}

/// The nearest `404.html` of `decoded_path`, upwards from its own folder, which is `blog` for `/blog/` and the root for
/// `/blog`.
#[must_use]
pub fn not_found_page(index: &PathIndex, decoded_path: &str) -> Option<u32> {
    if index.not_found_pages.is_empty() {
        return None;
    }
    let path = decoded_path.strip_prefix('/').unwrap_or(decoded_path);
    index.not_found_pages.nearest(path.rsplit_once('/').map_or("", |(folder, _)| folder))
}

/// The decision for one path, without following its redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    File(u32),
    Missing,
    /// To the address of `page`.
    Redirect {
        to: String,
        page: u32,
    },
}

fn one_step(index: &PathIndex, handling: HtmlHandling, path: &str) -> Step {
    let own = index.entry(path);
    let redirect = match handling {
        HtmlHandling::AsIs | HtmlHandling::None => None,
        HtmlHandling::AutoTrailingSlash => auto_trailing_slash(index, path, own),
        HtmlHandling::DropTrailingSlash => drop_trailing_slash(index, path, own),
        HtmlHandling::ForceTrailingSlash => force_trailing_slash(index, path, own),
    };
    redirect.or_else(|| served(own, handling, path).map(Step::File)).unwrap_or(Step::Missing)
}

/// The file that answers at `path` itself, with the given entry, without redirects.
fn served(entry: Entry, handling: HtmlHandling, path: &str) -> Option<u32> {
    let is_folder = path.ends_with('/');
    match handling {
        HtmlHandling::None => entry.exact,
        HtmlHandling::AsIs | HtmlHandling::AutoTrailingSlash if is_folder => entry.index,
        HtmlHandling::AsIs => entry.exact.or(entry.html).or(entry.index),
        HtmlHandling::AutoTrailingSlash => entry.exact.or(entry.html),
        HtmlHandling::ForceTrailingSlash if is_folder => entry.index.or(entry.html),
        HtmlHandling::ForceTrailingSlash => entry.exact,
        HtmlHandling::DropTrailingSlash if path == "/" => entry.index,
        HtmlHandling::DropTrailingSlash if is_folder => None,
        HtmlHandling::DropTrailingSlash => entry.exact.or(entry.html).or(entry.index),
    }
}

/// A redirect to `to`, if `page` exists, `to` is no file itself, and `to` would answer with exactly `page`.
struct Redirects<'a>(&'a PathIndex, HtmlHandling);

impl Redirects<'_> {
    fn to(&self, to: &str, page: Option<u32>) -> Option<Step> {
        let page = page?;
        let entry = self.0.entry(to);
        let leads = entry.exact.is_none() && served(entry, self.1, to) == Some(page);
        leads.then(|| Step::Redirect { to: to.to_owned(), page })
    }

    /// The redirect of [`Self::to`] to `name` with a slash appended.
    fn to_folder(&self, name: &str, page: Option<u32>) -> Option<Step> {
        page?;
        self.to(&format!("{name}/"), page)
    }
}

/// The spellings of a page that the modes distinguish; `name` is the part before the spelling, without a final slash.
enum Spelling<'a> {
    /// `name/`, including the root, with an empty name.
    Folder { name: &'a str },
    /// `name.html`
    Html { name: &'a str },
    /// `name/index`
    Index { name: &'a str },
    /// `name/index.html`
    IndexHtml { name: &'a str },
    /// Any other path.
    Plain,
}

impl<'a> Spelling<'a> {
    fn of(path: &'a str) -> Self {
        if let Some(name) = path.strip_suffix("/index") {
            Self::Index { name }
        } else if let Some(name) = path.strip_suffix("/index.html") {
            Self::IndexHtml { name }
        } else if let Some(name) = path.strip_suffix('/') {
            Self::Folder { name }
        } else if let Some(name) = path.strip_suffix(".html") {
            Self::Html { name }
        } else {
            Self::Plain
        }
    }
}

/// `None` if [`served`] decides.
fn auto_trailing_slash(index: &PathIndex, path: &str, own: Entry) -> Option<Step> {
    let redirect = Redirects(index, HtmlHandling::AutoTrailingSlash);
    match Spelling::of(path) {
        Spelling::Index { .. } | Spelling::Plain if own.exact.is_some() => None,
        Spelling::Index { name } => redirect
            .to_folder(name, own.html)
            .or_else(|| redirect.to(name, index.entry(name).html))
            .or_else(|| unslashed_folder(&redirect, path, own)),
        Spelling::IndexHtml { name } => {
            let page = redirect.to_folder(name, own.exact).or_else(|| redirect.to(name, index.entry(name).html));
            page.or_else(|| unslashed_folder(&redirect, path, own))
        }
        Spelling::Folder { .. } if own.index.is_some() => None,
        Spelling::Folder { name } => redirect.to(name, own.html),
        Spelling::Html { name } => {
            let page = redirect.to(name, own.exact).or_else(|| redirect.to_folder(name, index.entry(name).index));
            // A folder may have the name of a page.
            page.or_else(|| unslashed_folder(&redirect, path, own))
        }
        Spelling::Plain => unslashed_folder(&redirect, path, own),
    }
}

/// `x` for `x/index.html`, unless `x.html` has that name.
fn unslashed_folder(redirect: &Redirects<'_>, path: &str, own: Entry) -> Option<Step> {
    if own.html.is_some() { None } else { redirect.to_folder(path, own.index) }
}

fn force_trailing_slash(index: &PathIndex, path: &str, own: Entry) -> Option<Step> {
    let redirect = Redirects(index, HtmlHandling::ForceTrailingSlash);
    let special = match Spelling::of(path) {
        Spelling::Index { .. } | Spelling::Plain if own.exact.is_some() => return None,
        Spelling::Index { name } => {
            redirect.to_folder(name, own.html).or_else(|| redirect.to_folder(name, index.entry(name).html))
        }
        Spelling::IndexHtml { name } => {
            redirect.to_folder(name, own.exact).or_else(|| redirect.to_folder(name, index.entry(name).html))
        }
        Spelling::Folder { .. } => return None,
        Spelling::Html { name } => match redirect.to_folder(name, own.exact) {
            Some(to) => Some(to),
            None if own.exact.is_some() => return None,
            None => redirect.to_folder(name, index.entry(name).index),
        },
        Spelling::Plain => None,
    };
    if own.exact.is_some() {
        return special;
    }
    special.or_else(|| redirect.to_folder(path, own.html)).or_else(|| redirect.to_folder(path, own.index))
}

fn drop_trailing_slash(index: &PathIndex, path: &str, own: Entry) -> Option<Step> {
    let redirect = Redirects(index, HtmlHandling::DropTrailingSlash);
    match Spelling::of(path) {
        Spelling::Plain => None,
        Spelling::Index { .. } if own.exact.is_some() => None,
        // Only the root keeps its slash.
        Spelling::Index { name: "" } => redirect.to("/", own.html),
        Spelling::Index { name } => redirect.to(name, index.entry(name).html).or_else(|| redirect.to(name, own.html)),
        Spelling::IndexHtml { name: "" } => redirect.to("/", own.exact),
        Spelling::IndexHtml { name } => match redirect.to(name, own.exact) {
            Some(to) => Some(to),
            None if own.exact.is_some() => None,
            None => redirect.to(name, index.entry(name).html),
        },
        Spelling::Folder { name: "" } => None,
        Spelling::Folder { name } => redirect.to(name, own.html).or_else(|| redirect.to(name, own.index)),
        Spelling::Html { name } => redirect.to(name, own.exact).or_else(|| redirect.to(name, index.entry(name).index)),
    }
}

#[cfg(test)]
mod tests;
