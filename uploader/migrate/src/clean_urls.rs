//! `cleanUrls` and `trailingSlash`, which Vercel and Firebase share by name, but not by meaning.

use devanture_config::site_toml::HtmlHandling;

use super::moved::{Justified, Moved};
use super::value::Node;

/// The handling of pages, and its difference from the provider's.
pub(crate) type Way = (HtmlHandling, Option<&'static str>);

/// Reads both keys of `node`; `way` maps both, the second of which may be absent.
pub(crate) fn read(moved: &mut Moved, node: &Node, way: fn(bool, Option<bool>) -> Way) {
    let clean_urls = node.bool_of("cleanUrls").unwrap_or(false);
    let trailing_slash = node.bool_of("trailingSlash");
    let (word, difference) = way(clean_urls, trailing_slash);
    let line = node.first(&["cleanUrls", "trailingSlash"]).map_or(0, |node| node.line);
    if let Some(difference) = difference {
        moved.differs(line, "cleanUrls, trailingSlash", difference, None);
    }
    let value = trailing_slash.map_or_else(|| "not set".to_owned(), |value| value.to_string());
    let because = format!("{}: cleanUrls is {clean_urls}, trailingSlash is {value}.", moved.file);
    moved.html_handling = Some(Justified { word, because });
}
