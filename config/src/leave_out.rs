//! What is left out of every bundle: names that stand for secrets or for what a tool left behind.

/// Whether something of this name is left out wherever it stands, and, where it is a folder, all that it holds.
///
/// Upper case is taken for lower, since file systems that do not tell the two apart are where such names come from.
#[must_use]
pub fn is_left_out(name: &str) -> bool {
    let name = name.to_lowercase();
    matches!(name.as_str(), ".git" | ".ds_store" | "__macosx" | "node_modules")
        || name.starts_with(".env")
        || name.ends_with(".pem")
        || name.ends_with(".key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_litter_are_left_out() {
        for name in [".git", ".DS_Store", "__MACOSX", "node_modules", ".env", ".ENV.local", "server.key", "a.PEM"] {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["index.html", "monkey", "git", "pem", "key", ".well-known", "env.js", ".github"] {
            assert!(!is_left_out(name), "{name}");
        }
    }
}
