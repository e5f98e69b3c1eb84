//! Names of `devanture.toml` and its overlays.

/// Name of the file.
pub const FILE_NAME: &str = "devanture.toml";

/// Returns the environment in an overlay's file `name`; `site_file` is the name of the `devanture.toml`.
///
/// ```
/// use devanture_config::site_toml::overlay_of;
/// assert_eq!(overlay_of("devanture.toml", "devanture.staging.toml"), Some("staging"));
/// assert_eq!(overlay_of("devanture.toml", "devanture.toml"), None);
/// ```
#[must_use]
pub fn overlay_of<'n>(site_file: &str, name: &'n str) -> Option<&'n str> {
    let stem = site_file.strip_suffix(".toml")?;
    name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(".toml").filter(|place| !place.contains('/'))
}
