//! The folders of a push: the pages and the backend.

use devanture_config::manifest::halves::Half;
use devanture_config::site_toml::FolderGlobs;

use super::boundary::Place;

/// The need for a folder of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Required: the folder was named, or is the only one to push.
    Needed,
    /// Pushed if present: the folder was not named, and there is a backend.
    IfThere,
    /// Absent: a folder of the default name belongs to a different app.
    None,
}

/// The globs of files that are not pushed.
#[derive(Debug, Clone, Default)]
pub struct BundleGlobs {
    /// The globs of the pages.
    pub pages: FolderGlobs,
    /// The globs of the backend.
    pub server: FolderGlobs,
}

/// The folders of a push.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The folder of the pages.
    pub www: Place,
    /// The need for the pages.
    pub pages: Pages,
    /// The folder of the backend, if any.
    pub server: Option<Place>,
    /// The only half that is read, if limited.
    pub only: Option<Half>,
    /// The globs of files that are not pushed.
    pub globs: BundleGlobs,
}

impl Folders {
    /// Limits the folders to one half; `is_named` states that the command line names a folder, which is then the folder
    /// of the half.
    pub fn only(self, only: Option<Half>, is_named: bool) -> Self {
        match only {
            Some(Half::Backend) => {
                let server = if is_named { Some(self.www.clone()) } else { self.server };
                Self { server, pages: Pages::None, only, ..self }
            }
            // The backend's folder is still left out of the pages, if it is among them.
            Some(Half::Front) => Self { pages: Pages::Needed, only, ..self },
            None => self,
        }
    }

    /// Returns the folder of the backend, if it is read.
    pub(crate) fn read_server(&self) -> Option<&Place> {
        self.server.as_ref().filter(|_| self.only != Some(Half::Front))
    }
}
