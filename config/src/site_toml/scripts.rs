//! Scripts of a FastCGI backend: the root, the front controller, and the paths of scripts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bundle_scripts::BundleScripts;
use super::host_rule::HostRule;
use super::mistaken::EntryMistake;
use super::upstream_url::UpstreamUrl;
use super::upstreams::{Protocol, Upstream};
use crate::text::shown;

/// Default front controller, below the root.
pub const SCRIPT_INDEX: &str = "index.php";
/// Default end of a script's name; the rest of the path is path info.
pub const SCRIPT_SPLIT: &str = ".php";
/// Maximum number of paths of `scripts`.
pub const SCRIPTS_MAX: usize = 256;
/// Maximum length of a root's or script's path, in bytes: `PATH_MAX` of Linux.
pub const SCRIPT_PATH_BYTES_MAX: usize = 4_096;

/// Scripts of a FastCGI backend, from `root`, `index`, `split` and `scripts`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scripts {
    /// Folder of the scripts, as seen by the backend: an absolute path without a final slash.
    pub root: String,
    /// Front controller, for paths without a script, relative to the root.
    pub index: String,
    /// End of a script's name.
    pub split: String,
    /// Permitted scripts: paths below the root, or everything below a folder for a path with the ending `/*`. By
    /// default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<String>>,
    /// Scripts of the bundle, if run by the edge: other scripts are unreachable. Since the list may be long, it is read
    /// from the manifest on demand, and never sent.
    #[serde(skip)]
    pub bundle: Option<Arc<BundleScripts>>,
}

impl Scripts {
    /// Returns the scripts below `root` with the defaults.
    #[must_use]
    pub fn below(root: &str) -> Self {
        Self {
            root: trimmed(root).to_owned(),
            index: SCRIPT_INDEX.to_owned(),
            split: SCRIPT_SPLIT.to_owned(),
            only: None,
            bundle: None,
        }
    }

    /// Returns true if requests may reach the script at `path`, relative to the root.
    #[must_use]
    pub fn allows(&self, path: &str) -> bool {
        let is_listed = |pattern: &String| match pattern.strip_suffix('*') {
            Some(folder) => path.starts_with(folder),
            None => path == pattern,
        };
        let is_of_bundle = || self.bundle.as_ref().is_none_or(|bundle| bundle.holds(path));
        path == self.index || self.only.as_ref().is_none_or(|only| only.iter().any(is_listed)) && is_of_bundle()
    }
}

impl Upstream {
    /// Returns the scripts of the members, for FastCGI.
    #[must_use]
    pub fn scripts(&self) -> Option<Scripts> {
        let below = Scripts::below(self.root.as_deref()?);
        Some(Scripts {
            index: self.index.clone().unwrap_or(below.index),
            split: self.split.clone().unwrap_or(below.split),
            only: self.scripts.clone(),
            root: below.root,
            bundle: None,
        })
    }

    /// Returns all mistakes in keys about FastCGI.
    pub(super) fn script_mistakes(&self) -> Vec<EntryMistake> {
        let mut found = Vec::new();
        let mut wrong = |key, message: Option<String>| {
            found.extend(message.map(|message| EntryMistake { key, message }));
        };
        let is_fastcgi = self.to.iter().any(UpstreamUrl::is_fastcgi);
        if is_fastcgi && !self.to.iter().all(UpstreamUrl::is_fastcgi) {
            wrong("to", Some("mixes backends of HTTP and of FastCGI".to_owned()));
        }
        if is_fastcgi && self.root.is_none() {
            let message = "needs `root` beside it for FastCGI: the folder of the scripts, as the backend sees it";
            wrong("to", Some(message.to_owned()));
        }
        let keys = [
            ("index", self.index.is_some()),
            ("keep_alive", self.keep_alive.is_some()),
            ("root", self.root.is_some()),
            ("scripts", self.scripts.is_some()),
            ("split", self.split.is_some()),
        ];
        for (key, is_there) in keys {
            if is_there && !is_fastcgi && (!self.to.is_empty() || self.root.is_none()) {
                wrong(key, Some("is for backends of FastCGI, and there is none".to_owned()));
            }
        }
        if self.root.is_some() && self.protocol == Some(Protocol::Http2) {
            wrong("protocol", Some("is for backends of HTTP".to_owned()));
        }
        if is_fastcgi && self.host == Some(HostRule::Target) {
            wrong("host", Some("cannot be \"target\" for a backend of FastCGI".to_owned()));
        }
        let split = self.split.as_deref().unwrap_or(SCRIPT_SPLIT);
        wrong("root", self.root.as_deref().and_then(bad_root));
        // With another end, the default index no longer fits.
        let index = self.index.as_deref().unwrap_or(SCRIPT_INDEX);
        wrong("index", self.root.as_ref().and_then(|_| bad_index(index, split)));
        wrong("split", self.split.as_deref().and_then(bad_split));
        wrong("scripts", self.scripts.as_deref().and_then(bad_scripts));
        found
    }
}

/// Removes final slashes from a root.
fn trimmed(root: &str) -> &str {
    root.trim_end_matches('/')
}

/// Returns true if a text is a relative path of plain segments.
fn is_relative(path: &str) -> bool {
    path.len() <= SCRIPT_PATH_BYTES_MAX
        && !path.contains(['\0', '\\'])
        && path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

/// Returns the mistake in `root`, if any.
fn bad_root(root: &str) -> Option<String> {
    let is_fine = root.strip_prefix('/').is_some_and(|path| is_relative(trimmed(path)));
    (!is_fine).then(|| "must be the absolute path of a folder, as the backend sees it".to_owned())
}

/// Returns the mistake in `index` with this `split`, if any.
pub(super) fn bad_index(index: &str, split: &str) -> Option<String> {
    let is_fine = is_relative(index) && index.ends_with(split);
    (!is_fine).then(|| format!("must be a path below the root that ends with `{split}`, such as \"index{split}\""))
}

/// Returns the mistake in `split`, if any.
fn bad_split(split: &str) -> Option<String> {
    let is_fine = (2..=16).contains(&split.len())
        && split.strip_prefix('.').is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    (!is_fine).then(|| "must be the end of a script's name, such as \".php\"".to_owned())
}

/// Returns the mistake in `scripts`, if any.
fn bad_scripts(scripts: &[String]) -> Option<String> {
    if scripts.len() > SCRIPTS_MAX {
        return Some(format!("holds more than {SCRIPTS_MAX} paths"));
    }
    let is_fine = |path: &String| {
        let path = path.strip_suffix("/*").unwrap_or(path);
        is_relative(path) && !path.contains('*')
    };
    let bad = scripts.iter().find(|path| !is_fine(path))?;
    let bad = shown(bad);
    Some(format!("holds `{bad}`: a path below the root, or a folder and /*, such as \"wp-admin/*\", is wanted"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site_toml::SiteFile;

    #[test]
    fn a_pool_of_fastcgi_says_where_its_scripts_are() {
        let read = |toml: &str| SiteFile::parse("f", toml);
        let text = "[upstreams.php]\nto = \"fastcgi+unix:/run/php.sock\"\nroot = \"/srv/shop/public/\"\n\
            scripts = [\"wp-login.php\", \"wp-admin/*\"]\nkeep_alive = true\n";
        let pool = read(text).unwrap().base.upstreams.unwrap()["php"].pool();
        let scripts = pool.scripts().unwrap();
        assert_eq!((scripts.root.as_str(), scripts.index.as_str()), ("/srv/shop/public", "index.php"));
        assert_eq!((scripts.split.as_str(), scripts.only.as_ref().map(Vec::len)), (".php", Some(2)));
        for (bad, why) in [
            ("to = \"fastcgi://h:1\"", "needs `root`"),
            ("to = [\"fastcgi://h:1\", \"http://h\"]\nroot = \"/a\"", "mixes"),
            ("to = \"http://h\"\nroot = \"/a\"", "there is none"),
            ("to = \"http://h\"\nkeep_alive = true", "there is none"),
            ("to = \"fastcgi://h:1\"\nroot = \"a\"", "absolute"),
            ("to = \"fastcgi://h:1\"\nroot = \"/a/../b\"", "absolute"),
            ("to = \"fastcgi://h:1\"\nroot = \"/a\"\nindex = \"index.html\"", "ends with"),
            ("to = \"fastcgi://h:1\"\nroot = \"/a\"\nsplit = \"php\"", "the end of"),
            ("to = \"fastcgi://h:1\"\nroot = \"/a\"\nscripts = [\"../x.php\"]", "below the root"),
            ("to = \"fastcgi://h:1\"\nroot = \"/a\"\nprotocol = \"http2\"", "HTTP"),
            ("to = \"fastcgi://h:1\"\nroot = \"/a\"\nhost = \"target\"", "target"),
        ] {
            let error = read(&format!("[upstreams.a]\n{bad}\n")).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
        let error = read("[upstreams]\na = \"fastcgi://h:1\"\n").unwrap_err().to_string();
        assert!(error.contains("root"), "{error}");
        let error = read("[[routes]]\npath = \"/a\"\nto = \"fastcgi://h:1\"\n").unwrap_err().to_string();
        assert!(error.contains("[upstreams]"), "{error}");
        // The API may add the members.
        assert!(read("[upstreams.a]\nto = []\nroot = \"/a\"\n").is_ok());
    }

    #[test]
    fn the_pool_of_a_backend_without_php_has_no_root() {
        let read = |toml: &str| {
            SiteFile::parse("f", &format!("{toml}[upstreams.server]\nto = []\nroot = \"/a\"\nkeep_alive = true\n"))
        };
        assert!(read("[server]\nkind = \"php\"\n").is_ok());
        let web = "[server]\ncommand = [\"a\"]\n";
        let error = read(web).unwrap_err().to_string();
        assert!(error.contains("`upstreams.server` has `root`"), "{error}");
        // Layers are merged before the check.
        let staging = "[server]\nkind = \"php\"\n[env.staging.server]\nkind = \"web\"\ncommand = [\"a\"]\n";
        let error = read(staging).unwrap_err().to_string();
        assert!(error.contains("`upstreams.server` has `root`"), "{error}");
        // A separately pushed backend is unknown here.
        assert!(read("").is_ok());
    }

    #[test]
    fn a_path_names_a_script_of_the_list_or_the_index() {
        let all = Scripts::below("/srv/shop/public/");
        assert_eq!(all.root, "/srv/shop/public");
        assert!(all.allows("a/b.php"));
        let only = vec!["wp-login.php".to_owned(), "wp-admin/*".to_owned()];
        let some = Scripts { only: Some(only), ..all };
        for (path, allowed) in [
            ("index.php", true),
            ("wp-login.php", true),
            ("wp-admin/a.php", true),
            ("x.php", false),
            ("wp-admin", false),
        ] {
            assert_eq!(some.allows(path), allowed, "{path}");
        }
    }

    #[test]
    fn paths_lead_nowhere_else() {
        for bad in ["", "srv", "/", "/srv/../etc", "/srv//x", "/a\0"] {
            assert!(bad_root(bad).is_some(), "{bad}");
        }
        assert_eq!((bad_root("/srv/shop/"), bad_root("/srv")), (None, None));
        for bad in ["", "/index.php", "../index.php", "index.html", "a/./b.php"] {
            assert!(bad_index(bad, SCRIPT_SPLIT).is_some(), "{bad}");
        }
        assert_eq!(bad_index("web/app.php", SCRIPT_SPLIT), None);
        for bad in ["", ".", "php", ".p/p", ".*"] {
            assert!(bad_split(bad).is_some(), "{bad}");
        }
        for bad in ["/a.php", "a/*/b.php", "../*", "*"] {
            assert!(bad_scripts(&[bad.to_owned()]).is_some(), "{bad}");
        }
    }
}
