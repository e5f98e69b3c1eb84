//! The folder around a provider's file, and the folder to push.

use devanture_config::rules::{HEADERS_FILE, REDIRECTS_FILE};

use super::exclude::{self, What};
use super::moved::Moved;

/// The folder around the provider's file.
pub(crate) struct Around<'a> {
    /// Whether a path, from the folder of the file, is there.
    pub(crate) has: &'a dyn Fn(&str) -> bool,
    /// The folder to push where the file does not say one.
    pub(crate) www: &'a str,
    /// Whether the person said that folder, which then is it whatever the file says.
    pub(crate) is_explicit: bool,
}

impl Around<'_> {
    /// Whether the folder to push, `named` or else found, has a file of that name.
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

/// A folder as `www` has it: `..` takes the folder before it away, where there is one.
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

/// Files of rules mean nothing to some providers, and something here.
pub(super) fn unread_rule_files(moved: &mut Moved, provider: &str, around: &Around<'_>) {
    for file in [REDIRECTS_FILE, HEADERS_FILE] {
        if around.in_www(moved.www.as_deref(), file) {
            let how = format!("{provider} served it as a file, and here its rules would hold, so that it is left out");
            moved.differs(0, file, how, Some("take it out of `exclude` if they shall hold"));
            exclude::hide_page(moved, file, What::File);
        }
    }
}
