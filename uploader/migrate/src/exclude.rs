//! Paths that a provider did not serve, as globs of `exclude`: paths in ignore files, and code and settings among the
//! pages.

use devanture_config::manifest::halves::Half;
use devanture_config::site_toml::{FOLDER_GLOBS_MAX, FolderGlobs, LeftOutReason, PathGlob};

use super::around::{Around, folder};
use super::moved::{Moved, Note, NoteKind};

/// The kind of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathKind {
    /// A file, or the matches of a glob.
    File,
    /// A folder.
    Folder,
}

/// Excludes `path`, relative to the folder of the provider's file, if it is among the pages.
pub(super) fn hide(moved: &mut Moved, around: &Around<'_>, path: &str, what: PathKind) {
    let www = folder(around.folder(moved.www.as_deref()));
    if let Some(path) = within(&www, path) {
        hide_page(moved, &path, what);
    }
}

/// Excludes `path`, relative to the folder of the pages.
pub(super) fn hide_page(moved: &mut Moved, path: &str, what: PathKind) {
    let end = if what == PathKind::Folder { "/" } else { "" };
    let glob = format!("/{path}{end}");
    if !moved.exclude.contains(&glob) {
        add(moved, &glob, (0, "exclude"));
    }
}

/// Excludes the paths that a provider leaves out by default, if the pages are the whole project.
pub(super) fn by_default(moved: &mut Moved, around: &Around<'_>, globs: &[&str]) {
    if folder(around.folder(moved.www.as_deref())) == "." {
        globs.iter().for_each(|glob| add(moved, glob, (0, "exclude")));
    }
}

/// Adds a glob, with the line of the provider's file and its setting.
pub(super) fn add(moved: &mut Moved, glob: &str, (line, setting): (usize, &str)) {
    if moved.exclude.len() >= FOLDER_GLOBS_MAX {
        return moved.lost(line, setting, format!("`{glob}` is one too many: {FOLDER_GLOBS_MAX} are the most"), None);
    }
    match glob.parse::<PathGlob>() {
        Ok(_) => moved.exclude.push(glob.to_owned()),
        Err(error) => moved.lost(line, setting, error.to_string(), Some("exclude = [\"…\"] in devanture.toml")),
    }
}

/// The files to which an ignore file applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ignored {
    /// The pages, in the folder of the ignore file.
    Pages,
    /// The project, with pages that are served as uploaded.
    Project,
    /// Sources, from which a build makes the pages after the upload: Vercel's file applies to the upload.
    Sources,
}

/// Globs for the whole folder of the pages, without a final slash: all entries, or all folders.
const WHOLE: [&str; 6] = ["/*", "/**", "/**/*", "*", "**", "**/*"];

/// Reads an ignore file with the lines of `.gitignore`, relative to the folder of the provider's file, or of the pages.
pub(super) fn ignore_file(moved: &mut Moved, around: &Around<'_>, (file, text): (&str, &str), about: Ignored) {
    let www = match about {
        Ignored::Pages => ".".to_owned(),
        Ignored::Project | Ignored::Sources => folder(around.folder(moved.www.as_deref())),
    };
    let before = (moved.exclude.len(), moved.notes.len());
    let mut globs = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = if line.ends_with("\\ ") { line } else { line.trim_end() };
        if !line.is_empty() && !line.starts_with('#') {
            globs.extend(below(&www, &with_literal_braces(line)).map(|glob| (number, glob)));
        }
    }
    for (at, (number, glob)) in globs.iter().enumerate() {
        // The glob alone would leave out every page, although the pages were built there after the file had been read.
        let is_all = www != "." && WHOLE.contains(&glob.trim_end_matches('/'));
        let has_exceptions = || globs.iter().skip(at).any(|(_, later)| later.starts_with('!'));
        let is_built = about == Ignored::Sources && www != ".";
        if is_all && (is_built || !has_exceptions()) {
            let why = format!("every page of {www}/ is named, and none is left out");
            moved.lost(*number, "exclude", why, Some("exclude = [\"…\"] names what visitors are not to get"));
        } else if is_built && glob.starts_with('!') && moved.exclude.len() == before.0 {
            // An exception without a preceding glob.
        } else {
            add(moved, glob, (*number, "exclude"));
        }
    }
    // The notes of the loop concern lines of this file.
    moved.notes.iter_mut().skip(before.1).for_each(|note| file.clone_into(&mut note.file));
    if moved.exclude.len() > before.0 {
        let message = "what it names is `exclude` in devanture.toml".to_owned();
        let (file, setting) = (file.to_owned(), "exclude".to_owned());
        moved.notes.push(Note { file, line: 0, kind: NoteKind::Stays, setting, message, instead: None });
    }
}

/// Converts a glob of Firebase's `ignore`: there each glob matches the whole path of a file, except globs that end in
/// `/**`, which become globs of folders. `None` if there is no equivalent.
pub(super) fn of_firebase(glob: &str) -> Option<String> {
    let glob = glob.strip_prefix("./").unwrap_or(glob);
    if glob.starts_with('!') || glob.contains('(') || glob.ends_with('/') {
        return None;
    }
    let path = match glob.strip_suffix("/**") {
        Some(folder) if !folder.is_empty() => format!("{folder}/"),
        _ => glob.to_owned(),
    };
    Some(if path.starts_with("**/") || path.starts_with('/') { path } else { format!("/{path}") })
}

/// Returns `path` relative to the folder `www`, if it is in that folder.
fn within(www: &str, path: &str) -> Option<String> {
    let path = folder(path);
    if path == "." || path.split('/').any(|part| part == "..") {
        return None;
    }
    if www == "." { Some(path) } else { path.strip_prefix(www)?.strip_prefix('/').map(str::to_owned) }
}

/// Converts a line of an ignore file above the folder `www` to a line in that folder; `None` if the line matches
/// nothing there. A line for the folder itself is dropped: the folder was built after the file had been read.
fn below(www: &str, line: &str) -> Option<String> {
    let (sign, glob) = line.strip_prefix('!').map_or(("", line), |glob| ("!", glob));
    let body = glob.trim_end_matches('/');
    // Without an inner slash the glob applies to every folder.
    if www == "." || !body.contains('/') || body.starts_with("**/") {
        return Some(line.to_owned());
    }
    let mut rest = glob.trim_start_matches('/');
    for part in www.split('/') {
        if rest.starts_with("**/") {
            break;
        }
        let (first, after) = rest.split_once('/')?;
        if first == "**" || !is_like(first, part) {
            return None;
        }
        rest = after;
    }
    (!rest.is_empty()).then(|| format!("{sign}/{rest}"))
}

/// Escapes the braces in a line of an ignore file: there they are characters of names, and here alternatives.
fn with_literal_braces(line: &str) -> String {
    let (mut escaped, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(character) = rest.chars().next() {
        let after_it = rest.get(character.len_utf8()..).unwrap_or_default();
        let after = match character {
            '\\' => after_it.get(after_it.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default(),
            '[' => after_class(after_it).unwrap_or(after_it),
            '{' | '}' => {
                escaped.push('\\');
                after_it
            }
            _ => after_it,
        };
        escaped.push_str(rest.strip_suffix(after).unwrap_or_default());
        rest = after;
    }
    escaped
}

/// Returns the text after a character class, from behind its `[`: within the class a brace is a plain character.
fn after_class(text: &str) -> Option<&str> {
    let text = text.strip_prefix(['!', '^']).unwrap_or(text);
    // As the first character, `]` does not close the class.
    Some(text.strip_prefix(']').unwrap_or(text).split_once(']')?.1)
}

/// Returns true if a component of a glob matches the name `name`.
fn is_like(glob: &str, name: &str) -> bool {
    let Ok(glob) = format!("/{glob}").parse::<PathGlob>() else { return false };
    let globs = FolderGlobs { exclude: vec![glob], ..FolderGlobs::default() };
    globs.of(Half::Backend).reason(name, true, false) == Some(LeftOutReason::Excluded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOTHING, notes};

    #[test]
    fn a_line_of_an_ignore_file_is_for_the_folder_of_the_pages() {
        for (www, line, expected) in [
            (".", "/api", Some("/api")),
            (".", "!/dist", Some("!/dist")),
            ("dist", "*.map", Some("*.map")),
            ("dist", "private/", Some("private/")),
            ("dist", "**/drafts/*.md", Some("**/drafts/*.md")),
            ("dist", "/dist/private", Some("/private")),
            ("dist", "dist/private/", Some("/private/")),
            ("dist", "!/dist/a.txt", Some("!/a.txt")),
            ("dist", "/*/a.txt", Some("/a.txt")),
            ("dist", "/d?st/a.txt", Some("/a.txt")),
            ("dist", "/dist/*", Some("/*")),
            ("dist", "!/dist/**", Some("!/**")),
            ("dist", "/dist/*/", Some("/*/")),
            ("dist", "/dist", None),
            ("dist", "/dist/", None),
            ("dist", "/*", None),
            ("dist", "/src/a.txt", None),
            ("a/b", "a/b/c.txt", Some("/c.txt")),
            ("a/b", "a/c.txt", None),
            ("a/b", "a/**/c.txt", Some("/**/c.txt")),
        ] {
            assert_eq!(below(www, line).as_deref(), expected, "{www} {line}");
        }
    }

    #[test]
    fn a_line_for_all_pages_counts_with_its_exceptions_alone() {
        for (www, text, expected, lost) in [
            ("public", "/public/*\n!/public/js\n!/public/index.html\n", &["/*", "!/js", "!/index.html"][..], 0),
            ("public", "/public/**\n!/public/*.html\n", &["/**", "!/*.html"], 0),
            ("public", "/public/*\n!*.html\n", &["/*", "!*.html"], 0),
            ("public", "/public/a\n!/public/*\n", &["/a", "!/*"], 0),
            ("public", "public/*\n", &[], 1),
            ("public", "public/**\n*.map\n", &["*.map"], 1),
            ("public", "/public/**/*\n", &[], 1),
            ("public", "/*\n!/public\n", &[], 0),
            (".", "/*\n", &["/*"], 0),
        ] {
            let mut moved = Moved { www: Some(www.to_owned()), ..Moved::new("vercel.json") };
            ignore_file(&mut moved, &NOTHING, (".vercelignore", text), Ignored::Project);
            assert_eq!(moved.exclude, expected, "{text}");
            assert_eq!(notes(&moved, NoteKind::Lost).len(), lost, "{text} {:?}", moved.notes);
        }
    }

    #[test]
    fn a_line_for_all_that_a_build_writes_is_about_what_the_build_reads() {
        for (www, text, expected, lost) in [
            ("dist", "/dist/*\n!/dist/keep\n", &[][..], 1),
            ("dist", "dist/*\n!dist/keep\n", &[], 1),
            ("dist", "/dist/**\n!/dist/a.html\n*.map\n", &["*.map"], 1),
            ("dist", "/dist/**/*\n!/dist/a.html\n", &[], 1),
            ("dist", "/dist/*/\n!/dist/keep/\n", &[], 1),
            ("dist", "/d*/*\n!/dist/keep\n", &[], 1),
            ("dist", "*\n!src\n!package.json\n", &[], 1),
            ("dist", "**\n!*.html\n", &[], 1),
            ("dist", "**/*\n!src/**\n", &[], 1),
            ("dist", "/*\n!/src\n", &[], 0),
            ("dist", "/dist\n", &[], 0),
            ("dist", "/dist/\n!/dist/keep\n", &[], 0),
            ("web/dist", "/web/*\n!/web/src\n", &[], 0),
            ("web/dist", "/web/dist/*\n!/web/dist/a\n", &[], 1),
            // Parts of the folder are left out here too: they are named for a reason.
            ("dist", "/dist/private\n!/dist/private/a\n", &["/private", "!/private/a"], 0),
            ("dist", "/dist/*\n!/dist/keep\n/dist/private\n", &["/private"], 1),
            ("dist", "*.map\n!a.map\n", &["*.map", "!a.map"], 0),
            (".", "/*\n!/index.html\n", &["/*", "!/index.html"], 0),
        ] {
            let mut moved = Moved { www: Some(www.to_owned()), ..Moved::new("vercel.json") };
            ignore_file(&mut moved, &NOTHING, (".vercelignore", text), Ignored::Sources);
            assert_eq!(moved.exclude, expected, "{text}");
            assert_eq!(notes(&moved, NoteKind::Lost).len(), lost, "{text} {:?}", moved.notes);
        }
    }

    #[test]
    fn braces_of_an_ignore_file_are_characters_of_names() {
        for (line, expected, left_out, sent) in [
            ("a{b,c}.txt", "a\\{b,c\\}.txt", "a{b,c}.txt", "ab.txt"),
            ("/x/{{id}}/", "/x/\\{\\{id\\}\\}/", "x/{{id}}/a", "x/id/a"),
            ("a{b", "a\\{b", "a{b", "ab"),
            ("a\\{b,c\\}", "a\\{b,c\\}", "a{b,c}", "ab"),
            ("a[{}]", "a[{}]", "a}", "ab"),
            ("a[]{]{", "a[]{]\\{", "a{{", "a{"),
            ("a[!{]", "a[!{]", "ab", "a{"),
            ("\\[{", "\\[\\{", "[{", "{"),
        ] {
            for (provider, www, about) in
                [("vercel.json", ".", Ignored::Project), ("wrangler.toml", "dist", Ignored::Pages)]
            {
                let mut moved = Moved { www: Some(www.to_owned()), ..Moved::new(provider) };
                ignore_file(&mut moved, &NOTHING, ("ignored", line), about);
                assert_eq!(moved.exclude, [expected], "{:?}", moved.notes);
                let exclude = moved.exclude.iter().map(|glob| glob.parse().unwrap()).collect();
                let globs = FolderGlobs { exclude, ..FolderGlobs::default() }.of(Half::Front);
                assert!(globs.covers(left_out, false), "{line} {left_out}");
                assert!(!globs.covers(sent, false), "{line} {sent}");
            }
        }
        assert_eq!(below("a{b", &with_literal_braces("/a{b/c")).as_deref(), Some("/c"));
    }

    #[test]
    fn a_glob_of_firebase_is_for_whole_paths() {
        for (glob, expected) in [
            ("**/*.map", Some("**/*.map")),
            ("**/node_modules/**", Some("**/node_modules/")),
            ("functions/**", Some("/functions/")),
            ("secret.txt", Some("/secret.txt")),
            ("./drafts/*.html", Some("/drafts/*.html")),
            ("**/*.{ts,tsx}", Some("**/*.{ts,tsx}")),
            ("!(a|b)", None),
            // Such a glob does not match a folder itself.
            ("docs/", None),
            ("**/@(a|b).js", None),
        ] {
            assert_eq!(of_firebase(glob).as_deref(), expected, "{glob}");
        }
    }

    #[test]
    fn a_path_is_hidden_where_it_lies_among_the_pages() {
        for (www, path, expected) in [
            (".", "api", Some("api")),
            (".", "./netlify/functions/", Some("netlify/functions")),
            ("public", "public/api", Some("api")),
            ("public", "api", None),
            ("public", "publicity/api", None),
            ("site/dist", "/site//../site/dist/fn", Some("fn")),
            ("a/../site/./dist", "site/dist/fn", Some("fn")),
            (".", "a/../../api", None),
            (".", "../a/../api", None),
            (".", "a/..", None),
            (".", "../api", None),
            (".", ".", None),
        ] {
            assert_eq!(within(&folder(www), path).as_deref(), expected, "{www} {path}");
        }
    }
}
