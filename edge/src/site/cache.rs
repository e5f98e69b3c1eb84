//! What `Cache-Control` says where no rule of the site says anything.

/// For a fingerprinted file: another content would have another name, so no client need ever ask again.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// For every other file and for the page of a single-page application: kept, but asked about before each use.
pub const REVALIDATE: &str = "public, max-age=0, must-revalidate";
/// For a miss and an error: what is missing now may be there after the next switch, and a browser or a proxy that kept
/// the answer would go on saying otherwise (RFC 9110 §15.5.5 makes 404 cacheable by itself).
pub const NEVER: &str = "no-store";

/// The value for a file that was found under its own name.
#[must_use]
pub fn default_cache_control(fingerprinted: bool) -> &'static str {
    if fingerprinted { IMMUTABLE } else { REVALIDATE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fingerprinted_file_is_kept_for_long() {
        assert!(default_cache_control(true).contains("immutable"));
        for short in [default_cache_control(false), NEVER] {
            assert!(!short.contains("immutable") && !short.contains("31536000"), "{short}");
        }
    }
}
