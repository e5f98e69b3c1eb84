//! The folders of a push: that of the pages, and that of the backend.

use devanture_config::manifest::halves::Half;
use devanture_config::site_toml::FolderGlobs;

use super::boundary::Place;

/// Whether a folder of pages has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// It has: it was named, or there is nothing else to push.
    Needed,
    /// It is pushed where it is there: nobody named it, and there is a backend.
    IfThere,
    /// There is none: a folder of the usual name is another app's.
    None,
}

/// Tells what of the folders is not pushed.
#[derive(Debug, Clone, Default)]
pub struct BundleGlobs {
    /// Those of the pages.
    pub pages: FolderGlobs,
    /// Those of the backend.
    pub server: FolderGlobs,
}

/// The folders of a push.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The folder of the pages.
    pub www: Place,
    /// Whether it has to be there.
    pub pages: Pages,
    /// The folder of the backend, if there is one.
    pub server: Option<Place>,
    /// The half that is read, if it is one alone.
    pub only: Option<Half>,
    /// What of them is not pushed.
    pub globs: BundleGlobs,
}

impl Folders {
    /// One half of them; `is_named` says that the person named a folder, which is that of the half then.
    pub fn only(self, only: Option<Half>, is_named: bool) -> Self {
        match only {
            Some(Half::Backend) => {
                let server = if is_named { Some(self.www.clone()) } else { self.server };
                Self { server, pages: Pages::None, only, ..self }
            }
            // The backend's folder is still left out of the pages, if it stands among them.
            Some(Half::Front) => Self { pages: Pages::Needed, only, ..self },
            None => self,
        }
    }

    /// The folder of the backend, if it is read.
    pub(crate) fn read_server(&self) -> Option<&Place> {
        self.server.as_ref().filter(|_| self.only != Some(Half::Front))
    }
}
