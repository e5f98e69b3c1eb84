//! Selects the script for a path: the script named by the path, or the front controller.

use std::borrow::Cow;

use devanture_config::site_toml::{SCRIPT_PATH_BYTES_MAX, Scripts};
use percent_encoding::percent_decode_str;

/// The script of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The script's URL path, `/index.php`, decoded.
    pub name: String,
    /// The rest of the path after the script, decoded: empty, or starting with a slash.
    pub path_info: String,
}

/// Reason why a path has no script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// The path has a zero byte, which ends a path for programs behind the edge.
    #[error("its path holds a zero")]
    Zero,
    /// The path is longer than the system accepts.
    #[error("its path is too long for a script")]
    Long,
}

/// Returns the script of `scripts` that answers `path`, the undecoded path of a request.
///
/// A path names a script by its first segment that ends with `split`. The edge does not check that the file exists: the
/// backend decides, and should run only files of that extension (`security.limit_extensions`), and never a parent
/// segment instead (`cgi.fix_pathinfo=0`). A path that may resolve differently from its literal form goes to the front
/// controller, as every path without a script does.
///
/// # Errors
/// The path cannot stand for a file.
pub fn script_for(path: &str, scripts: &Scripts) -> Result<Script, BadPath> {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    if decoded.contains('\0') {
        return Err(BadPath::Zero);
    }
    if scripts.root.len() + decoded.len() + scripts.index.len() > SCRIPT_PATH_BYTES_MAX {
        return Err(BadPath::Long);
    }
    let index = || Script { name: format!("/{}", scripts.index), path_info: String::new() };
    let Some(named) = named(&decoded, &scripts.split) else { return Ok(index()) };
    let is_literal = is_plain(&named.name) && !path.to_ascii_lowercase().contains("%2f");
    // A path with invalid UTF-8 was changed by the decoding.
    let is_literal = is_literal && !matches!(&decoded, Cow::Owned(text) if text.contains('\u{fffd}'));
    let relative = named.name.trim_start_matches('/');
    Ok(if is_literal && scripts.allows(relative) { named } else { index() })
}

/// Returns the script named by a decoded path.
fn named(decoded: &str, split: &str) -> Option<Script> {
    let mut end = 0;
    for segment in decoded.split('/') {
        end += segment.len();
        if segment.len() > split.len() && segment.ends_with(split) {
            let (name, path_info) = decoded.split_at_checked(end)?;
            return Some(Script { name: name.to_owned(), path_info: path_info.to_owned() });
        }
        end += 1;
    }
    None
}

/// Returns true if all segments of a script's path are plain and visible names.
fn is_plain(name: &str) -> bool {
    let is_name = |segment: &str| !segment.is_empty() && !segment.starts_with('.');
    name.strip_prefix('/').is_some_and(|path| path.split('/').all(is_name))
        && !name.chars().any(|character| character.is_control() || character == '\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(path: &str, scripts: &Scripts) -> (String, String) {
        let script = script_for(path, scripts).unwrap();
        (script.name, script.path_info)
    }

    #[test]
    fn a_path_names_its_script_or_goes_to_the_front_controller() {
        let scripts = Scripts::below("/srv");
        for (path, name, path_info) in [
            ("/", "/index.php", ""),
            ("/articles/7", "/index.php", ""),
            ("/index.php", "/index.php", ""),
            ("/index.php/articles/7", "/index.php", "/articles/7"),
            ("/admin/users.php", "/admin/users.php", ""),
            ("/a%20b.php/c%20d", "/a b.php", "/c d"),
            // The first script segment counts, whatever follows.
            ("/a.php/b.php", "/a.php", "/b.php"),
            ("/x.jpg/a.php", "/x.jpg/a.php", ""),
            ("/a.php5", "/index.php", ""),
            ("/a.phpx/b", "/index.php", ""),
            ("/A.PHP", "/index.php", ""),
        ] {
            assert_eq!(found(path, &scripts), (name.to_owned(), path_info.to_owned()), "{path}");
        }
    }

    #[test]
    fn a_path_that_could_lead_elsewhere_runs_no_script_of_its_choice() {
        let scripts = Scripts::below("/srv/public");
        for path in [
            "/../x.php",
            "/a/../../x.php",
            "/%2e%2e/x.php",
            "/..%2fx.php",
            "/a%2F..%2Fx.php",
            "/./x.php",
            "//x.php",
            "/a//x.php",
            "/.git/x.php",
            "/.php",
            "/..\\x.php",
            "/x%0a.php",
            "/a\u{fffd}%ff.php",
            "x.php",
        ] {
            assert_eq!(found(path, &scripts), ("/index.php".to_owned(), String::new()), "{path}");
        }
        assert_eq!(script_for("/a.jpg%00.php", &scripts), Err(BadPath::Zero));
        assert_eq!(script_for(&format!("/{}", "a".repeat(5_000)), &scripts), Err(BadPath::Long));
        let listed = Scripts { only: Some(vec!["wp-admin/*".to_owned()]), ..scripts };
        assert_eq!(found("/wp-admin/a.php/x", &listed).0, "/wp-admin/a.php");
        assert_eq!(found("/uploads/a.php", &listed), ("/index.php".to_owned(), String::new()));
    }

    proptest! {
        #[test]
        fn a_script_lies_below_its_root(path in "/[a-z./%2eEfF0\\\\ ]{0,40}(\\.php)?(/[a-z.]{0,9})?") {
            if let Ok(Script { name, path_info }) = script_for(&path, &Scripts::below("/srv")) {
                prop_assert!(is_plain(&name) && name.ends_with(".php"));
                prop_assert!(path_info.is_empty() || path_info.starts_with('/'));
            }
        }
    }
}
