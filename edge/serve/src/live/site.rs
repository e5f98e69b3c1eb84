//! A live version as the input of the crate `devanture-site`.

use std::sync::Arc;

use devanture_config::site_toml::{HtmlHandling, NotFound};
use devanture_config::{AppName, Hostname, PlaceName};
use devanture_site::decide::Site;
use devanture_site::fingerprint;
use devanture_site::resolve::PathIndex;
use devanture_site::rules::CompiledRules;

use super::{Current, Place};
use crate::version::{Setting, Version};

/// A live version, with the place where the version is live, if any.
#[derive(Clone, Copy)]
pub(crate) struct LiveSite<'a> {
    pub(crate) current: &'a Current,
    pub(crate) place: Option<&'a Place>,
}

/// A file of an earlier version, or of a version about to go live.
pub(crate) enum Asset {
    /// The file of number `file`.
    Of { version: Arc<Version>, file: u32 },
    /// Unknown until the earlier versions are loaded.
    Unknown { app: AppName, name: PlaceName },
}

impl LiveSite<'_> {
    fn version(&self) -> &Version {
        &self.current.version
    }
}

impl Site for LiveSite<'_> {
    type Asset = Asset;

    #[inline]
    fn index(&self) -> &PathIndex {
        &self.version().indexes.paths
    }

    #[inline]
    fn html_handling(&self) -> HtmlHandling {
        self.version().html_handling
    }

    #[inline]
    fn not_found(&self) -> NotFound {
        self.version().not_found
    }

    #[inline]
    fn rules(&self) -> &CompiledRules {
        &self.version().rules
    }

    #[inline]
    fn has_routes(&self) -> bool {
        !self.version().routes.is_empty()
    }

    fn route(&self, path: &str) -> Option<usize> {
        let version = self.version();
        let number = version.route(path)?;
        let is_first = version.routes.get(number).is_some_and(|route| route.declared.files_first);
        // A page that was open during a switch continues with the files of its own version (law 10).
        let is_file = || version.indexes.paths.exact(path).is_some() || self.asset(path).is_some();
        (!is_first || !is_file()).then_some(number)
    }

    fn upstream(&self, origin: &str) -> Option<usize> {
        self.version().upstream(&origin.parse().ok()?)
    }

    fn has_cors_origin(&self, origin: &[u8]) -> bool {
        self.version().cors.iter().any(|named| named.as_bytes() == origin)
    }

    fn leads(&self, host: &str, canonical: &str) -> bool {
        let leads = |place: &Place| host.parse().is_ok_and(|name: Hostname| place.leads(name.as_str(), canonical));
        self.place.is_some_and(leads)
    }

    fn file_path(&self, file: u32) -> &str {
        self.version().file(file).map_or("", |file| &file.path)
    }

    fn is_page(&self, file: u32) -> bool {
        self.version().file(file).is_some_and(|file| file.is_page)
    }

    #[inline]
    fn fast_path(&self, path: &str) -> Option<u32> {
        self.version().indexes.fast_paths.file(path)
    }

    fn has_status_page(&self) -> bool {
        // For an environment alone: a preview is up for every visitor.
        self.version().status_page && self.place.is_some_and(|place| place.setting == Setting::Environment)
    }

    fn takes_reports(&self) -> bool {
        self.version().takes_reports
    }

    #[inline]
    fn hides(&self, path: &str) -> bool {
        self.current.withdrawn.hides(self.version(), path)
    }

    #[inline]
    fn hides_file(&self, file: u32) -> bool {
        self.current.withdrawn.hides_file(self.version(), file)
    }

    fn asset(&self, path: &str) -> Option<Asset> {
        let place = self.place.filter(|place| place.setting != Setting::Preview)?;
        let asset = |version: &Version| {
            let number = version.indexes.paths.exact(path)?;
            let is_kept = version.file(number)?.fingerprinted && !self.current.withdrawn.hides_file(version, number);
            is_kept.then_some(number)
        };
        // Read first, so that a version loaded in between is found.
        let is_incomplete = place.is_loading_earlier();
        let found = place.asset_fallback(&self.current.version, |version| asset(version).is_some());
        match found {
            Some(version) => asset(&version).map(|file| Asset::Of { version, file }),
            None if is_incomplete && fingerprint::is_fingerprinted(path) => {
                Some(Asset::Unknown { app: place.app.clone(), name: place.name.clone() })
            }
            None => None,
        }
    }

    fn asset_parts<'a>(&'a self, asset: &'a Asset) -> (&'a str, &'a CompiledRules) {
        match asset {
            Asset::Of { version, file } => (version.file(*file).map_or("", |file| &file.path), &version.rules),
            Asset::Unknown { .. } => ("", self.rules()),
        }
    }
}
