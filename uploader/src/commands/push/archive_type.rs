//! Archives by their names: what `push site.zip` sends as it is.

use std::path::Path;

/// Endings of archives, and the media types that the edge takes them under.
const TYPES: [(&str, &str); 6] = [
    (".zip", "application/zip"),
    (".tar", "application/x-tar"),
    (".tar.gz", "application/gzip"),
    (".tgz", "application/gzip"),
    (".tar.zst", "application/zstd"),
    (".tzst", "application/zstd"),
];

/// The media type of the archive at `path`, if its name is that of one.
pub(crate) fn media_type(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    TYPES.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, media_type)| *media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_known_by_its_name() {
        for (name, media_type) in [
            ("site.zip", Some("application/zip")),
            ("a/SITE.ZIP", Some("application/zip")),
            ("site.tar", Some("application/x-tar")),
            ("site.tar.gz", Some("application/gzip")),
            ("site.tgz", Some("application/gzip")),
            ("site.tar.zst", Some("application/zstd")),
            ("www", None),
            ("site.gz", None),
        ] {
            assert_eq!(super::media_type(Path::new(name)), media_type, "{name}");
        }
    }
}
