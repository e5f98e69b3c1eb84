//! A project under analysis: its files, its `package.json`, and the configuration of its framework.

use super::config_text::{Value, value_of};
use super::framework::Framework;
use super::package::Package;
use super::tree::Tree;

/// A project with its framework.
pub(super) struct Project<'t> {
    pub(super) tree: &'t dyn Tree,
    pub(super) package: Package,
    pub(super) framework: Option<&'static Framework>,
    /// The evidence for the framework.
    pub(super) shown_by: String,
    /// The path and the text of the configuration.
    pub(super) config: Option<(String, String)>,
}

impl<'t> Project<'t> {
    /// Opens a project; `chosen` is the framework, if the user names it.
    pub(super) fn new(tree: &'t dyn Tree, chosen: Option<&'static Framework>) -> Self {
        let package = Package::read(tree, "");
        let detected = match chosen {
            Some(framework) => Some((framework, "chosen by --framework".to_owned())),
            None => Framework::detect(tree, &package),
        };
        let (framework, shown_by) = detected.map_or((None, String::new()), |(found, by)| (Some(found), by));
        let config = framework.and_then(|framework| framework.config(tree, ""));
        Self { tree, package, framework, shown_by, config }
    }

    /// Returns the value of a key of the configuration.
    pub(super) fn value_of(&self, key: &str) -> Option<Value> {
        value_of(&self.config.as_ref()?.1, key)
    }

    /// Returns true if the configuration sets `key` to `value`.
    pub(super) fn says(&self, key: &str, value: &str) -> bool {
        self.value_of(key).is_some_and(|said| said.text() == Some(value))
    }

    /// The pages at the top of a folder.
    pub(super) fn html_files(&self, folder: &str) -> Vec<String> {
        let mut names = self.tree.names(folder);
        names.retain(|name| name.ends_with(".html"));
        names
    }
}
