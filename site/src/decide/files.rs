//! Files and pages, and the response for a missing file.

use devanture_config::site_toml::NotFound;
use http::Method as HttpMethod;
use http::header::AUTHORIZATION;

use super::outcome::{End, Refused};
use super::trace::{Reason, Stage, Step, Trace, Untraced};
use super::{Found, Request, Site, Visit, with_query};
use crate::cache::Kept;
use crate::method::Method;
use crate::negotiate::Coding;
use crate::resolve::{self, Resolution};
use crate::rules::{Access, CompiledRules};
use crate::target;

impl<'r, S: Site, R: Request<'r>> Visit<'_, S, R> {
    /// The file or page at `path`, which is `file` if known.
    #[inline(always)]
    pub(super) fn by_file<T: Trace>(
        self,
        path: &str,
        file: Option<u32>,
        found: &mut Found,
        trace: &mut T,
    ) -> End<S::Asset> {
        let site = self.site;
        let resolve = || resolve::resolve(site.index(), site.html_handling(), path);
        match file.map_or_else(resolve, Resolution::File) {
            Resolution::File(file) => self.file(path, (file, Kept::File), (Stage::Files, found), trace),
            Resolution::Redirect(to) => {
                trace.step(Step::Ended(Stage::Files, None, Reason::HtmlHandling));
                let location = with_query(target::encode_path(&to), self.request.query());
                End::Redirect { status: 307, location, is_by_site: true }
            }
            Resolution::Missing => {
                trace.step(Step::NoFile(path));
                self.missing(path, path, found, trace)
            }
        }
    }

    /// A file, if the visitor may see the file.
    #[inline(always)]
    pub(super) fn file<T: Trace>(
        self,
        path: &str,
        (file, kept): (u32, Kept),
        (stage, found): (Stage, &mut Found),
        trace: &mut T,
    ) -> End<S::Asset> {
        if self.site.hides_file(file) {
            return self.not_found(path, path, found, trace);
        }
        self.seen(path, (file, 200, kept), (stage, found), trace)
    }

    /// A page with a status of its own, sent in place of the requested content.
    pub(super) fn page<T: Trace>(
        self,
        path: &str,
        (file, status): (u32, u16),
        (stage, found): (Stage, &mut Found),
        trace: &mut T,
    ) -> End<S::Asset> {
        if self.site.hides_file(file) {
            return End::Nothing;
        }
        self.seen(path, (file, status, Kept::StandIn), (stage, found), trace)
    }

    #[inline(always)]
    fn seen<T: Trace>(
        self,
        path: &str,
        (file, status, kept): (u32, u16, Kept),
        (stage, found): (Stage, &mut Found),
        trace: &mut T,
    ) -> End<S::Asset> {
        let access = match self.site.rules().has_guards() {
            true => self.access_to(self.site.file_path(file), None, path, trace),
            false => Access::Everybody,
        };
        if access == Access::Refused {
            found.rule = None;
            return End::Refused(Refused::Unauthorised);
        }
        trace.step(Step::Ended(stage, found.rule, Reason::File { file, status }));
        End::File { file, status, kept, access }
    }

    /// Returns the access of the visitor to a file by the requested path, and by every other path of the file or of the
    /// file that it encodes: a rule may protect only one of the paths. An asset of another version is protected by the
    /// rules of both versions.
    pub(super) fn access_to<T: Trace>(
        self,
        own: &str,
        others: Option<&CompiledRules>,
        path: &str,
        trace: &mut T,
    ) -> Access {
        let Some(host) = self.request.host() else { return Access::Everybody };
        let guarding = std::iter::once(self.site.rules()).chain(others).filter(|rules| rules.has_guards());
        let guarding: Vec<&CompiledRules> = guarding.collect();
        if guarding.is_empty() {
            return Access::Everybody;
        }
        let authorization = self.request.field(&AUTHORIZATION);
        let mut paths = resolve::addresses(Coding::plain_path(own).unwrap_or(own));
        paths.extend([path.to_owned(), format!("/{own}")]);
        let mut most = Access::Everybody;
        for path in &paths {
            let access = guarding.iter().map(|rules| rules.access(host, path, authorization.as_deref()));
            most = access.max().unwrap_or(Access::Everybody).max(most);
            if most == Access::Refused {
                trace.step(Step::Ended(Stage::Access, None, Reason::KeptOut(path)));
                break;
            }
        }
        most
    }

    /// Returns true if files support the method.
    pub(super) fn has_files(method: &HttpMethod) -> bool {
        *method == HttpMethod::GET || Method::of(method.as_str()).is_read()
    }

    /// The response for a missing file: an asset of an earlier version; the page of an application, for navigations to
    /// `path`; else the nearest 404 page, seen from `wanted`.
    pub(super) fn missing<T: Trace>(self, path: &str, wanted: &str, found: &mut Found, trace: &mut T) -> End<S::Asset> {
        let site = self.site;
        if let Some(end) = self.asset_at(wanted, path) {
            return end;
        }
        let is_application = site.not_found() == NotFound::SinglePageApplication;
        if let Some(file) = is_application.then(|| site.index().shell()).flatten() {
            found.varies.by_navigation = true;
            if self.request.may_have_shell(path) {
                return self.file(path, (file, Kept::StandIn), (Stage::NotFound, found), trace);
            }
        }
        self.not_found(path, wanted, found, trace)
    }

    /// The nearest 404 page, if the site has such pages.
    pub(super) fn not_found<T: Trace>(
        self,
        path: &str,
        wanted: &str,
        found: &mut Found,
        trace: &mut T,
    ) -> End<S::Asset> {
        let page = match self.site.not_found() {
            NotFound::Page404 => resolve::not_found_page(self.site.index(), wanted),
            NotFound::SinglePageApplication | NotFound::None => None,
        };
        if let Some(file) = page {
            return self.page(path, (file, 404), (Stage::NotFound, found), trace);
        }
        trace.step(Step::Ended(Stage::NotFound, found.rule, Reason::Nothing));
        End::Nothing
    }

    /// A withdrawn path: only content stored since may answer, and neither a rule nor the page of an application stands
    /// in.
    pub(super) fn withdrawn<T: Trace>(self, path: &str, found: &mut Found, trace: &mut T) -> End<S::Asset> {
        self.asset(path).unwrap_or_else(|| self.not_found(path, path, found, trace))
    }

    /// The fingerprinted asset at `path` in another version (law 10).
    pub(super) fn asset(self, path: &str) -> Option<End<S::Asset>> {
        self.asset_at(path, path)
    }

    fn asset_at(self, wanted: &str, path: &str) -> Option<End<S::Asset>> {
        let asset = self.site.asset(wanted)?;
        let (own, rules) = self.site.asset_parts(&asset);
        let access = self.access_to(own, Some(rules), path, &mut Untraced);
        Some(match access {
            Access::Refused => End::Refused(Refused::Unauthorised),
            Access::Everybody | Access::Known => End::Asset { asset, access },
        })
    }
}
