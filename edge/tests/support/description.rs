//! The description of the API as the edge serves it, read for tests that go over every operation.

use std::collections::{BTreeMap, BTreeSet};

/// The text of the description.
pub(crate) const DESCRIPTION: &str = include_str!("../../control/src/admin/openapi.yaml");

/// Address to methods, in capital letters, out of the description: its layout is that of this repository.
pub(crate) fn described() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations() {
        found.entry(path).or_default().insert(method);
    }
    found
}

/// Every operation: its address, its method in capital letters, and what the description says of it.
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
