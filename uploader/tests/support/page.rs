//! Pages of `docs`, whose blocks tests run unchanged.

use std::path::Path;

/// Returns the text of a page, by its name below `docs`.
pub(crate) fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The block of a page right after `<!-- mark -->`.
pub(crate) fn block(name: &str, mark: &str) -> String {
    let page = page(name);
    let (_, rest) = page.split_once(&format!("<!-- {mark} -->\n```")).unwrap_or_else(|| panic!("{name} has no {mark}"));
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split_once("```\n").unwrap().0.to_owned()
}
