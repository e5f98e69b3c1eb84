//! Bounds of a page's analysis: a page beyond a bound is served unchanged. Pure.
//!
//! No real page comes near the bounds, so they are not configurable: the cost of a page is linear in its content, and
//! never a product of two quantities.

/// Bytes of the address in a tag, and of a `<base>`.
pub const ADDRESS_BYTES_MAX: usize = 4_096;
/// Tags of a page that load scripts and style sheets.
pub const TAGS_MAX: usize = 4_000;
/// Addresses that the inline scripts of a page import.
pub const INLINE_MAX: usize = 20_000;
/// Addresses in the import map of a page.
pub const NAMES_MAX: usize = 20_000;
/// Name prefixes in the import map of a page.
pub const PREFIXES_MAX: usize = 1_000;

/// Reason that a page is served unchanged, without hashes and without a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Too long an address or `<base>`, or too many tags, imports or names.
    TooMuch,
    /// A `<base>` in a template or after a script: the meaning of addresses is uncertain.
    Base,
    /// Scripts, templates or a `<base>` in SVG or MathML, with other parsing rules.
    Foreign,
    /// A `<noframes>`, which is text to some parsers.
    Frames,
    /// Scripts in a template that becomes a shadow tree.
    Shadow,
    /// An invalid import map of the page.
    Map,
}
