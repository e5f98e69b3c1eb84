//! Detects archives by their names, which `push site.zip` sends unchanged.

use std::path::Path;

/// Extensions of archives, and their media types for the edge.
const TYPES: [(&str, &str); 6] = [
    (".zip", "application/zip"),
    (".tar", "application/x-tar"),
    (".tar.gz", "application/gzip"),
    (".tgz", "application/gzip"),
    (".tar.zst", "application/zstd"),
    (".tzst", "application/zstd"),
];

/// Returns the media type of the archive at `path`, if its name is that of an archive.
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
