//! The folder around a provider's file, and the folder to push.

use devanture_config::rules::{HEADERS_FILE, REDIRECTS_FILE};

use super::exclude::{self, PathKind};
use super::moved::Moved;

/// The folder around the provider's file.
pub(crate) struct Around<'a> {
    /// Returns true if a path, relative to the folder of the file, exists.
    pub(crate) has: &'a dyn Fn(&str) -> bool,
    /// The folder to push if the file names none.
    pub(crate) www: &'a str,
    /// Set if the command line names that folder, which then takes precedence over the file.
    pub(crate) is_explicit: bool,
}

impl Around<'_> {
    /// Returns true if the folder to push, `named` or the default, has a file of that name.
    pub(super) fn in_www(&self, named: Option<&str>, name: &str) -> bool {
        (self.has)(&format!("{}/{name}", self.folder(named)))
    }

    pub(super) fn is_built(&self, named: Option<&str>) -> bool {
        (self.has)(self.folder(named))
    }

    pub(super) fn folder<'f>(&'f self, named: Option<&'f str>) -> &'f str {
        named.filter(|_| !self.is_explicit).unwrap_or(self.www)
    }
}

/// Normalizes a folder for `www`: `..` removes the previous component, if any.
pub(super) fn folder(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match parts.last() {
            Some(last) if part == ".." && *last != ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// Notes rule files that some providers ignore and that have a meaning here.
pub(super) fn unread_rule_files(moved: &mut Moved, provider: &str, around: &Around<'_>) {
    for file in [REDIRECTS_FILE, HEADERS_FILE] {
        if around.in_www(moved.www.as_deref(), file) {
            let how = format!("{provider} served it as a file, and here its rules would hold, so that it is left out");
            moved.differs(0, file, how, Some("take it out of `exclude` if they shall hold"));
            exclude::hide_page(moved, file, PathKind::File);
        }
    }
}
