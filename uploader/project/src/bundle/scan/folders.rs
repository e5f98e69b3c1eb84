//! Scans the folders of a push: the pages, and the backend, which visitors cannot read.

use std::fs;

use devanture_config::manifest::halves::Half;
use devanture_config::problem::Code;
use devanture_config::site_toml::FILE_NAME;

use super::{Reading, Scan, server, walk_apart};
use crate::ProjectError;
use crate::boundary::Place;
use crate::folders::{Folders, Pages};

impl Folders {
    /// Walks both folders, and hashes the found files. With `strict`, files that would be left out of the pages are
    /// refused.
    ///
    /// # Errors
    /// `missing_folder`, `empty_bundle`; `bad_bundle` and `unreadable_file` with all mistakes; `usage` if both folders
    /// are the same.
    pub fn scan(&self, strict: bool) -> Result<Scan, ProjectError> {
        let (scan, failure) = self.walk(strict, Reading::OnlySound);
        failure.map_or(Ok(scan), Err)
    }

    /// Like [`Folders::scan`], but returns the mistakes beside the found files, so that no mistake hides any other.
    pub fn walk(&self, strict: bool, reading: Reading) -> (Scan, Option<ProjectError>) {
        let (pages, of_pages) = self.walk_pages(strict, reading);
        let (server, of_server) = match self.read_server() {
            Some(place) => server::walk(place, self.globs.server.of(Half::Backend), reading),
            None => (None, None),
        };
        let of_server = of_server.map(|failure| self.pages_alone(failure));
        let failure = match self.check_there() {
            Err(failure) if of_server.is_some() && of_pages.is_some() => Some(failure),
            _ => of_server.into_iter().chain(of_pages).reduce(ProjectError::and),
        };
        (Scan { server, ..pages }, failure)
    }

    /// Adds to the failure of a missing backend folder the way to push the pages alone.
    fn pages_alone(&self, failure: ProjectError) -> ProjectError {
        let has_pages = self.only.is_none() && self.pages != Pages::None && self.www.path().exists();
        match failure.hint.clone().filter(|_| has_pages && failure.is(Code::MissingFolder)) {
            Some(hint) => failure.hint(format!("{hint}; `devanture push --only front` pushes the pages alone")),
            None => failure,
        }
    }

    /// Checks that the required folders exist.
    ///
    /// # Errors
    /// `missing_folder`, with all of them.
    pub fn check_there(&self) -> Result<(), ProjectError> {
        let is_missing = |place: &&Place| !place.path().exists();
        let pages = Some(&self.www).filter(|_| self.pages == Pages::Needed).filter(is_missing);
        match (pages, self.read_server().filter(is_missing)) {
            (Some(www), Some(server)) => {
                let (www, server) = (www.path().display(), server.path().display());
                let message = format!("The folders `{www}` of the pages and `{server}` of the backend do not exist.");
                let hint = format!(
                    "build the project first, or say where they are: `www` and `dir` below [server] in {FILE_NAME}"
                );
                Err(ProjectError::new(Code::MissingFolder, message).hint(hint))
            }
            (Some(www), None) => super::open(www).map(drop),
            (None, _) => Ok(()),
        }
    }

    /// Like [`Folders::scan`], without the backend.
    ///
    /// # Errors
    /// Like [`Folders::scan`].
    pub fn scan_pages(&self, strict: bool) -> Result<Scan, ProjectError> {
        let (scan, failure) = self.walk_pages(strict, Reading::OnlySound);
        failure.map_or(Ok(scan), Err)
    }

    fn walk_pages(&self, strict: bool, reading: Reading) -> (Scan, Option<ProjectError>) {
        // The files of the server are hidden from visitors, even if the server's folder is among the pages.
        let apart = self.server.as_ref().and_then(|folder| fs::canonicalize(folder.path()).ok());
        if self.pages != Pages::None && apart.is_some() && fs::canonicalize(self.www.path()).ok() == apart {
            let message = format!("The folder `{}` is named for pages and for the backend.", self.www.path().display());
            let failure = ProjectError::new(Code::Usage, message)
                .hint("every visitor could read the backend: give each a folder of its own");
            return (Scan::default(), Some(failure));
        }
        match self.pages {
            Pages::None => (Scan::default(), None),
            Pages::IfThere if !self.www.path().exists() => (Scan::default(), None),
            Pages::IfThere | Pages::Needed => {
                walk_apart(&self.www, apart, self.globs.pages.of(Half::Front), (strict, reading))
            }
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::tests::Folder;
    use super::*;
    use crate::boundary::{Boundary, IMAGE_KEY};
    use crate::folders::BundleGlobs;
    use devanture_config::path::BundlePath;
    use devanture_site::rules::At;

    #[test]
    fn the_backends_folder_among_the_pages_is_read_by_nobody() {
        let folder = Folder::new(&["index.html", "server/server.js", "server/sub/a.js"]);
        folder.link("code.js", "server/server.js");
        folder.link("all", "server");
        folder.link("below", "server/sub");
        let folders = |server: &str| Folders {
            www: Place::anywhere(folder.path()),
            pages: Pages::Needed,
            server: Some(Place::anywhere(folder.path().join(server))),
            only: None,
            globs: BundleGlobs::default(),
        };
        let scan = folders("server").scan(true).unwrap();
        assert_eq!(scan.files.keys().map(BundlePath::as_str).collect::<Vec<_>>(), ["index.html"]);
        assert_eq!((scan.count(), scan.total_bytes(), scan.left_out.len()), (3, 10 + 9 + 4, 0));
        assert_eq!(scan.text(), "1 file, 10 B · server 2 files, 13 B");
        assert_eq!(folders(".").scan(false).unwrap_err().code, Code::Usage);
    }

    #[test]
    fn the_archive_of_an_image_among_the_pages_is_read_by_nobody() {
        let folder = Folder::new(&["api.tar", "index.html"]);
        folder.link("image.tar", "api.tar");
        let boundary = Boundary::new(&folder.path(), None).unwrap();
        let at = At { file: "devanture.toml".into(), line: 1 };
        let folders = Folders {
            www: Place::anywhere(folder.path()),
            pages: Pages::Needed,
            server: Some(Place::within(folder.path().join("api.tar"), boundary, Some((IMAGE_KEY, at)))),
            only: None,
            globs: BundleGlobs::default(),
        };
        let front = Folders { only: Some(Half::Front), ..folders.clone() };
        let names = |scan: &Scan| scan.files.keys().map(ToString::to_string).collect::<Vec<_>>();
        let scan = folders.scan(true).unwrap();
        assert_eq!((names(&scan), scan.left_out.len()), (vec!["index.html".to_owned()], 0));
        let server = scan.server.unwrap();
        assert_eq!(server.files.keys().map(BundlePath::as_str).collect::<Vec<_>>(), ["api.tar"]);
        assert_eq!(names(&front.scan(true).unwrap()), ["index.html"]);
    }

    #[test]
    fn pages_within_the_folder_of_a_backend_are_published_and_nothing_else_of_it() {
        let folder = Folder::new(&["app/public/a.css", "app/public/index.php", "app/src/secret.txt"]);
        let folders = Folders {
            www: Place::anywhere(folder.path().join("app/public")),
            pages: Pages::Needed,
            server: Some(Place::anywhere(folder.path().join("app"))),
            only: None,
            globs: BundleGlobs::default(),
        };
        let scan = folders.scan(false).unwrap();
        assert_eq!(scan.files.keys().map(BundlePath::as_str).collect::<Vec<_>>(), ["a.css"]);
        assert_eq!(scan.server.unwrap().count(), 3);
        folder.link("app/public/secret.txt", "../src/secret.txt");
        assert_eq!(folders.scan(false).unwrap_err().code, Code::BadBundle);
    }

    #[test]
    fn pages_may_be_absent_beside_a_backend_where_nobody_names_them() {
        let folder = Folder::new(&["server.js"]);
        let folders = Folders {
            www: Place::anywhere(folder.0.path().join("none")),
            pages: Pages::IfThere,
            server: Some(Place::anywhere(folder.path())),
            only: None,
            globs: BundleGlobs::default(),
        };
        assert_eq!(folders.scan(false).unwrap().text(), "server 1 file, 9 B");
        assert_eq!(Folders { pages: Pages::Needed, ..folders }.scan(false).unwrap_err().code, Code::MissingFolder);
    }
}
