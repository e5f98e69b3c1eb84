//! Checks that the addresses in a page or style sheet are answered, by the code of the edge.

use std::collections::{HashMap, HashSet};

use devanture_config::path::BundlePath;
use devanture_config::site_toml::Integrity;
use devanture_config::site_toml::check::{BROKEN_LINK, MISSING_ASSET, MIXED_CONTENT};
use devanture_site::answers::{Answer, Asking, ManifestSite};
use percent_encoding::percent_decode_str;
use url::Url;

use super::html::{Reference, Use};

/// Upper bound of cached answers.
const KEPT_MAX: usize = 50_000;
/// Upper bound of shown characters of an address.
const SHOWN_MAX: usize = 200;
/// Placeholders in an address that a program replaces later.
const PLACEHOLDERS: [&str; 4] = ["{{", "${", "<%", "{%"];

/// The version in every checked environment.
pub(crate) struct Places<'m> {
    /// Each site with its name; messages about the first omit the name.
    sites: Vec<(String, ManifestSite<'m>)>,
    by_letters: HashMap<String, &'m BundlePath>,
}

/// A mistake about an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) code: &'static str,
    pub(crate) is_doubt: bool,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The address: a path for addresses of the site.
    pub(crate) target: String,
}

/// A linked fragment of a page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Fragment {
    /// The number of the page.
    pub(crate) page: u32,
    /// The fragment as written.
    pub(crate) id: String,
}

impl Fragment {
    /// Returns the fragment with its encoded characters decoded, which a browser looks for second.
    pub(crate) fn decoded(&self) -> String {
        percent_decode_str(&self.id).decode_utf8_lossy().into_owned()
    }
}

impl<'m> Places<'m> {
    /// Prepares a check of at least one environment.
    pub(crate) fn new(sites: Vec<(String, ManifestSite<'m>)>, paths: impl Iterator<Item = &'m BundlePath>) -> Self {
        let public = paths.filter(|path| !path.is_private());
        Self { sites, by_letters: public.map(|path| (path.as_str().to_lowercase(), path)).collect() }
    }

    /// The first place.
    pub(crate) fn first(&self) -> Option<&ManifestSite<'m>> {
        self.sites.first().map(|(_, site)| site)
    }

    /// Returns the places of the pages with hashes, each with its name unless first.
    pub(crate) fn with_hashes(&self) -> impl Iterator<Item = (Option<&str>, &ManifestSite<'m>)> {
        let named = self.sites.iter().enumerate();
        let named = named.map(|(number, (name, site))| ((number > 0).then_some(name.as_str()), site));
        named.filter(|(_, site)| site.integrity() != Integrity::Off)
    }

    /// Returns files that no visitor gets, since a route takes their paths: each with the route's path, and with the
    /// place unless the first has the same finding.
    pub(crate) fn shadowed(&self) -> Vec<(&BundlePath, String, Option<&str>)> {
        let mut all: Vec<(&BundlePath, String, Option<&str>)> = Vec::new();
        let mut known = HashSet::new();
        for (number, (name, site)) in self.sites.iter().enumerate() {
            for ((_, route), shadowed) in site.routes().iter().zip(site.shadowed()) {
                let files = shadowed.files.into_iter().filter(|file| known.insert(*file));
                let files = files.filter_map(|file| site.path(file));
                all.extend(files.map(|path| (path, route.path.to_string(), (number > 0).then_some(name.as_str()))));
            }
        }
        all
    }

    /// Returns a checker of the addresses of several files in turn.
    pub(crate) fn looker(&self) -> Looker<'_, 'm> {
        Looker { places: self, kept: HashMap::new() }
    }

    /// Returns a suggestion for a path without an answer.
    fn hint(&self, path: &str) -> Option<String> {
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        let name = decoded.strip_prefix('/')?;
        let letters = name.to_lowercase();
        let there = |letters: &str| self.by_letters.get(letters).copied();
        let other =
            [letters.clone(), format!("{letters}.html"), format!("{}/index.html", letters.trim_end_matches('/'))];
        if let Some(found) = other.iter().find_map(|letters| there(letters))
            && !found.as_str().starts_with(name.trim_end_matches('/'))
        {
            return Some(format!("`{found}` is there, whose case differs"));
        }
        let page = there(&format!("{}.html", letters.trim_end_matches('/')))?;
        Some(format!("`{page}` is there; `html_handling` says how pages are found"))
    }
}

/// Checks addresses, and caches the answers.
pub(crate) struct Looker<'p, 'm> {
    places: &'p Places<'m>,
    kept: HashMap<(usize, String, Asking), Answer>,
}

impl Looker<'_, '_> {
    /// Returns the base addresses of a file, in each place; `base` comes from the page.
    pub(crate) fn bases(&self, path: &BundlePath, base: Option<&str>) -> Vec<Option<Url>> {
        let of = |site: &ManifestSite<'_>| {
            let own = site.address_of(path).ok()?;
            Some(base.and_then(|base| own.join(base.trim()).ok()).unwrap_or(own))
        };
        self.places.sites.iter().map(|(_, site)| of(site)).collect()
    }

    /// Checks an address in every place: returns the mistakes, and the fragment of a page that the address names.
    pub(crate) fn look(&mut self, reference: &Reference, bases: &[Option<Url>]) -> (Vec<Wrong>, Option<Fragment>) {
        let mut all: Vec<Wrong> = Vec::new();
        let mut fragment = None;
        if PLACEHOLDERS.iter().any(|placeholder| reference.target.contains(placeholder)) {
            return (all, None);
        }
        for (number, base) in bases.iter().enumerate() {
            let (Some((name, _)), Some(base)) = (self.places.sites.get(number), base) else { continue };
            match self.look_in(number, reference, base) {
                Ok(found) if number == 0 => fragment = found,
                Ok(_) => {}
                // A mistake that applies everywhere is reported once.
                Err(wrong) if all.iter().any(|known| known.code == wrong.code) => {}
                Err(mut wrong) => {
                    if number > 0 {
                        wrong.message = format!("in {name}: {}", wrong.message);
                    }
                    all.push(wrong);
                }
            }
        }
        (all, fragment)
    }

    fn look_in(&mut self, number: usize, reference: &Reference, base: &Url) -> Result<Option<Fragment>, Wrong> {
        let written = reference.target.trim();
        let Some((_, site)) = self.places.sites.get(number) else { return Ok(None) };
        if written.is_empty() {
            return Ok(None);
        }
        let Ok(url) = base.join(written) else {
            let message = format!("{} is no address", shown(reference));
            return Err(wrong(code_of(reference.used), message, written));
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Ok(None);
        }
        if url.scheme() == "http" && reference.used != Use::Link {
            return Err(mixed(reference, &url));
        }
        if !site.is_own(&url) {
            return Ok(None);
        }
        let asking = match reference.used {
            Use::Link | Use::Form { .. } | Use::Frame => Asking::Navigation,
            Use::Asset | Use::Media => Asking::Subresource,
        };
        let answer = self.answer(number, &url, asking);
        self.judge(number, reference, &url, answer)
    }

    fn answer(&mut self, number: usize, url: &Url, asking: Asking) -> Answer {
        let mut plain = url.clone();
        plain.set_fragment(None);
        let key = (number, plain.as_str().to_owned(), asking);
        if let Some(known) = self.kept.get(&key) {
            return known.clone();
        }
        let site = self.places.sites.get(number).map(|(_, site)| site);
        let answer = site.map_or(Answer::Elsewhere, |site| site.ask(&plain, asking));
        if self.kept.len() >= KEPT_MAX {
            self.kept.clear();
        }
        self.kept.insert(key, answer.clone());
        answer
    }

    fn judge(
        &self,
        number: usize,
        reference: &Reference,
        url: &Url,
        answer: Answer,
    ) -> Result<Option<Fragment>, Wrong> {
        let (code, target) = (code_of(reference.used), own_target(url));
        let what = match reference.target.trim().split('#').next() == Some(target.as_str()) {
            true => shown(reference),
            false => format!("{}, which is {},", shown(reference), clipped(&target)),
        };
        match answer {
            Answer::File(page) => {
                if reference.used == (Use::Form { is_post: true }) {
                    let message = format!("{what} is a file, which takes no POST");
                    let hint = Some("a route, or a rewrite to an upstream, takes it to a backend".to_owned());
                    return Err(Wrong { is_doubt: true, hint, ..wrong(code, message, &target) });
                }
                let site = self.places.sites.get(number).map(|(_, site)| site);
                let is_page = site.is_some_and(|site| site.is_page(page));
                Ok(fragment_of(url).filter(|_| is_page).map(|id| Fragment { page, id }))
            }
            Answer::Elsewhere => Ok(None),
            Answer::Nothing(by) => {
                let message = match by {
                    None => format!("{what} leads to nothing"),
                    Some(at) if at.line > 0 => {
                        format!("{what} ends with an error, by the rule of {}:{}", at.file, at.line)
                    }
                    Some(at) => format!("{what} ends with an error, by a rule of {}", at.file),
                };
                Err(Wrong { hint: self.places.hint(url.path()), ..wrong(code, message, &target) })
            }
            Answer::BadPath => Err(wrong(code, format!("{what} is refused: it is no path"), &target)),
            Answer::Circle(at) => {
                let by = at.map_or_else(String::new, |at| format!(", by {}:{}", at.file, at.line));
                Err(wrong(code, format!("{what} is redirected in a circle{by}"), &target))
            }
        }
    }
}

fn wrong(code: &'static str, message: String, target: &str) -> Wrong {
    Wrong { code, is_doubt: false, message, hint: None, target: target.to_owned() }
}

/// Content without encryption; browsers refuse most of these, and load images, sounds and films with encryption
/// instead.
fn mixed(reference: &Reference, url: &Url) -> Wrong {
    let (is_doubt, what) = match reference.used {
        Use::Media => (true, "browsers ask for it by https instead"),
        Use::Form { .. } => (true, "browsers warn of sending what was typed without encryption"),
        Use::Asset | Use::Frame | Use::Link => (false, "browsers refuse to load it"),
    };
    let message = format!("{} is not encrypted: {what}", shown(reference));
    let hint = Some("write https://".to_owned());
    Wrong { is_doubt, hint, ..wrong(MIXED_CONTENT, message, url.as_str()) }
}

const fn code_of(used: Use) -> &'static str {
    match used {
        Use::Asset | Use::Media => MISSING_ASSET,
        Use::Form { .. } | Use::Frame | Use::Link => BROKEN_LINK,
    }
}

/// Returns an address of the site without its host.
fn own_target(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// Returns the fragment of a link; `None` for fragments with a meaning for the browser or a program of the page.
fn fragment_of(url: &Url) -> Option<String> {
    let fragment = url.fragment()?;
    let id = fragment.split(":~:").next().unwrap_or_default();
    let is_place =
        !id.is_empty() && !id.eq_ignore_ascii_case("top") && !id.starts_with(['/', '!']) && !id.contains('=');
    is_place.then(|| id.to_owned())
}

fn shown(reference: &Reference) -> String {
    format!("`{}` of {}", clipped(reference.target.trim()), reference.within)
}

/// A text without control characters, and not too long.
fn clipped(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut clipped: String = text.chars().take(SHOWN_MAX).map(plain).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        clipped.push('…');
    }
    clipped
}
