//! The container image of a push: the edge resolves its tag, and the version names the result.

use devanture_config::Manifest;
use devanture_config::problem::Code;
use devanture_config::site_toml::Image;

use crate::output::exit::Failure;

/// Returns the manifest with the image resolved by the edge, and its text; `None` if the image does not belong to the
/// tag.
pub(super) fn resolved(manifest: &Manifest, found: Option<&Image>) -> Option<(String, Manifest)> {
    let (Some(Image::Registry(tagged)), Some(Image::Registry(found))) = (manifest.image(), found) else { return None };
    if tagged.digest.is_some() || tagged.with_digest(found.digest.as_deref()?)? != *found {
        return None;
    }
    let mut manifest = manifest.clone();
    manifest.base.server.as_mut()?.image = Some(Image::Registry(found.clone()));
    Some((found.to_string(), manifest))
}

/// Checks that the id of a version can be computed without an edge.
///
/// # Errors
/// `usage` if the edge would have to ask a registry.
pub(super) fn check_fixed(manifest: &Manifest) -> Result<(), Failure> {
    match manifest.image().filter(|image| !image.is_fixed()) {
        None => Ok(()),
        Some(image) => {
            let message = format!("A push finds what the tag of {image} leads to, so --dry-run cannot tell the id.");
            Err(Failure::new(Code::Usage, message).hint("write the digest of the image in the place of its tag"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::site_toml::SiteFile;

    #[test]
    fn only_the_digest_of_the_same_image_takes_the_place_of_its_tag() {
        let site = SiteFile::parse("f", "[server]\nimage = \"registry.example.org/team/api:1\"\n").unwrap();
        let mut manifest = Manifest::of_files(Default::default());
        manifest.base = site.base;
        let digest = "0a".repeat(32);
        let found = |name: &str| format!("{name}@sha256:{digest}").parse::<Image>().unwrap();
        let same = found("registry.example.org/team/api");
        let (text, fixed) = resolved(&manifest, Some(&same)).unwrap();
        assert_eq!((text, fixed.image()), (same.to_string(), Some(&same)));
        assert!(check_fixed(&fixed).is_ok() && check_fixed(&manifest).is_err());
        for other in [
            Some(found("registry.example.org/other/api")),
            Some("registry.example.org/team/api:2".parse().unwrap()),
            None,
        ] {
            assert!(resolved(&manifest, other.as_ref()).is_none(), "{other:?}");
        }
        assert!(resolved(&fixed, Some(&same)).is_none(), "it has one already");
    }
}
