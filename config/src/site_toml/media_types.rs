//! `[types]`: media types of files whose names do not determine the type.

use std::collections::BTreeMap;

use crate::manifest::is_media_type;
use crate::parsing::reader::Table;

/// `[types]`: media types by path of a file, or by ending of its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaTypes {
    by_ending: BTreeMap<String, String>,
    by_path: BTreeMap<String, String>,
}

impl MediaTypes {
    /// Returns the type set for the file at `path` of a bundle: for the path, or for the longest matching ending of its
    /// name, without regard to case.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<&str> {
        if let Some(media_type) = self.by_path.get(path) {
            return Some(media_type);
        }
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let dots = name.match_indices('.');
        let mut endings = dots.filter_map(|(at, _)| name.get(at..));
        endings.find_map(|ending| self.by_ending.get(ending)).map(String::as_str)
    }

    /// Iterates over the entries: an ending or a path, as written, and its type.
    pub(super) fn declared(&self) -> impl Iterator<Item = (String, &str)> {
        let endings = self.by_ending.iter().map(|(ending, media_type)| (ending.clone(), media_type.as_str()));
        endings.chain(self.by_path.iter().map(|(path, media_type)| (format!("/{path}"), media_type.as_str())))
    }

    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let mut types = Self::default();
        for (name, media_type) in table.named_strings("types") {
            if !is_media_type(&media_type) {
                table.mistake(
                    "types",
                    format!("`{media_type}`, of `{name}`, is not a media type"),
                    Some("\"text/plain\""),
                );
            }
            if let Some(path) = name.strip_prefix('/') {
                types.by_path.insert(path.to_owned(), media_type);
            } else if name.starts_with('.') && name.len() > 1 && !name.contains('/') {
                types.by_ending.insert(name.to_ascii_lowercase(), media_type);
            } else {
                let message = format!("`{name}` is neither an ending nor a path");
                table.mistake("types", message, Some("\".md\" is an ending, \"/docs/data\" a path"));
            }
        }
        types
    }
}
