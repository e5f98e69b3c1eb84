//! Served OpenAPI description, parsed for tests that iterate over every operation.

use std::collections::{BTreeMap, BTreeSet};

/// Text of the description.
pub(crate) const DESCRIPTION: &str = include_str!("../../control/src/admin/openapi.yaml");

/// Paths and their methods, in capital letters. The parser relies on the layout of the file in this repository.
pub(crate) fn described() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations() {
        found.entry(path).or_default().insert(method);
    }
    found
}

/// Every operation: path, method in capital letters, and YAML text.
pub(crate) fn operations() -> Vec<(String, String, String)> {
    let mut found: Vec<(String, String, String)> = Vec::new();
    let (mut path, mut is_operation) = (String::new(), false);
    let (_, paths) = DESCRIPTION.split_once("\npaths:\n").unwrap();
    for line in paths.lines().take_while(|line| line.is_empty() || line.starts_with(' ')) {
        if let Some(name) = line.strip_prefix("  ").filter(|rest| rest.starts_with('/')) {
            path = name.trim_end_matches(':').to_owned();
            is_operation = false;
        } else if let Some(name) = line.strip_prefix("    ").filter(|rest| !rest.starts_with(' ')) {
            let method = name.trim_end_matches(':').to_uppercase();
            is_operation = ["GET", "PUT", "POST", "DELETE", "PATCH"].contains(&method.as_str());
            if is_operation {
                found.push((path.clone(), method, String::new()));
            }
        } else if let Some((_, _, description)) = found.last_mut().filter(|_| is_operation) {
            description.push_str(line);
            description.push('\n');
        }
    }
    found
}
