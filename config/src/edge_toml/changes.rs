//! Keys with different values in two texts of `edge.toml`.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// Returns the keys with different values, for example `limits.bundle_bytes_max`, in order. A key missing from either
/// text differs too, even with its default value. A text outside TOML has no keys.
#[must_use]
pub fn changed_keys(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (flat(before), flat(after));
    let all: BTreeMap<&String, ()> = before.keys().chain(after.keys()).map(|key| (key, ())).collect();
    all.into_keys().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

fn flat(text: &str) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    if let Ok(table) = text.parse::<Table>() {
        flatten("", table, &mut keys);
    }
    keys
}

fn flatten(prefix: &str, table: Table, keys: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(table) => flatten(&key, table, keys),
            value => drop(keys.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_changed_when_its_value_has() {
        let before = "domain = \"a\"\n[limits]\nx = 1\ny = 2\n[tls]\nprofile = \"modern\"\n";
        assert_eq!(changed_keys(before, before), Vec::<String>::new());
        // Comments and order are insignificant.
        let same = "# new\n[tls]\nprofile = \"modern\"\n[limits]\ny = 2\nx = 1\n";
        assert_eq!(changed_keys(before, same), ["domain"]);
        let after = "domain = \"a\"\nlimits = { x = 1, y = 3, z = 4 }\n";
        assert_eq!(changed_keys(before, after), ["limits.y", "limits.z", "tls.profile"]);
        assert_eq!(changed_keys("a = [1, 2]", "a = [1, 3]"), ["a"]);
    }
}
