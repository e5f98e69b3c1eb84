//! Files left out of every bundle: names that stand for secrets or for leftovers of tools.

/// Files and folders in which tools keep private keys, passwords and tokens.
const CREDENTIALS: [&str; 17] = [
    // OpenSSH and GnuPG. A public key, `id_rsa.pub`, is meant to be shown.
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    ".ssh",
    ".gnupg",
    // Clients of registries, repositories, clouds and databases.
    ".npmrc",
    ".pypirc",
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".aws",
    ".dockercfg",
    ".pgpass",
    ".my.cnf",
];
/// Endings of files that hold private keys: PEM, PKCS #12, Java's and PuTTY's.
const KEY_ENDINGS: [&str; 7] = [".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".ppk"];

/// Endings of sources of PHP, which hold passwords of databases: no visitor is to get them as files.
const SCRIPT_ENDINGS: [&str; 3] = [".php", ".phtml", ".phar"];

/// Whether something of this name is left out wherever it stands, and, where it is a folder, all that it holds.
///
/// Upper case is taken for lower, since file systems that do not tell the two apart are where such names come from.
#[must_use]
pub fn is_left_out(name: &str) -> bool {
    let name = name.to_lowercase();
    matches!(name.as_str(), ".git" | ".ds_store" | "__macosx" | "node_modules")
        || name.starts_with(".env")
        || CREDENTIALS.contains(&name.as_str())
        || KEY_ENDINGS.iter().chain(&SCRIPT_ENDINGS).any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_litter_are_left_out() {
        for name in [".git", ".DS_Store", "__MACOSX", "node_modules", ".env", ".ENV.local", "server.key", "a.PEM"] {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["id_rsa", "ID_ED25519", "id_ecdsa_sk", ".npmrc", ".netrc", ".ssh", "store.P12", "key.ppk", "a.jks"]
        {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["wp-config.php", "INDEX.PHP", "view.phtml", "tool.phar"] {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["id_rsa.pub", "id_rsa.html", "netrc", "npmrc", "ssh", "my_id_rsa", "p12", "keystore.js"] {
            assert!(!is_left_out(name), "{name}");
        }
        for name in ["index.html", "monkey", "git", "pem", "key", ".well-known", "env.js", ".github"] {
            assert!(!is_left_out(name), "{name}");
        }
    }
}
