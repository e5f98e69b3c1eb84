//! How much of a page is looked at: a page that has more is served as it is. Pure.
//!
//! No page of a site comes near to these, so they are no operator's business: what a page costs is what it holds, and
//! never a product of two things that it holds.

/// Bytes of the address in a tag, and of a `<base>`.
pub const ADDRESS_BYTES_MAX: usize = 4_096;
/// Tags of a page that load scripts and style sheets.
pub const TAGS_MAX: usize = 4_000;
/// Addresses that the inline scripts of a page import.
pub const INLINE_MAX: usize = 20_000;
/// Addresses in the import map of a page.
pub const NAMES_MAX: usize = 20_000;
/// Beginnings of names in the import map of a page.
pub const PREFIXES_MAX: usize = 1_000;

/// Why a page is served as it is, without hashes and without a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It has an address or a `<base>` that is too long, or more tags, imports or names than are looked at.
    TooMuch,
    /// Its `<base>` is in a template, or comes after a script: addresses may mean others than they seem to.
    Base,
    /// It has scripts, templates or a `<base>` in SVG or MathML, which are read by other rules.
    Foreign,
    /// It has `<noframes>`, which is text to some readers.
    Frames,
    /// It has scripts in a template that becomes a shadow tree.
    Shadow,
    /// Its own import map is none.
    Map,
}
