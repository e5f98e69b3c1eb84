//! The folders of a push: that of the pages, and that of the backend.

use super::boundary::Place;

/// Whether a folder of pages has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// It has: it was named, or there is nothing else to push.
    Needed,
    /// It is pushed where it is there: nobody named it, and there is a backend.
    IfThere,
    /// There is none: a folder of the usual name is another app's.
    None,
}

/// The folders of a push.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    /// The folder of the pages.
    pub(crate) www: Place,
    /// Whether it has to be there.
    pub(crate) pages: Pages,
    /// The folder of the backend, if there is one.
    pub(crate) server: Option<Place>,
}
