//! Files left out of every bundle: names of secrets, of leftovers of tools, and of files run or read by other
//! providers.

/// Files and folders of private keys, passwords and tokens.
const CREDENTIALS: [&str; 17] = [
    // OpenSSH and GnuPG. Public keys such as `id_rsa.pub` are pushed.
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
/// Endings of files with private keys: PEM, PKCS #12, Java's and PuTTY's.
const KEY_ENDINGS: [&str; 7] = [".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".ppk"];

/// Endings of PHP sources, which contain passwords of databases and must not be served as files.
const SCRIPT_ENDINGS: [&str; 3] = [".php", ".phtml", ".phar"];

/// Files and folders at the top that a provider runs or reads and never serves, each with the provider. Names also used
/// for pages, such as `api` and `functions`, are excluded.
const OF_PROVIDERS: [(&str, &str); 25] = [
    (".assetsignore", CLOUDFLARE),
    (".firebase", FIREBASE),
    (".firebaserc", FIREBASE),
    (".netlify", NETLIFY),
    (".nowignore", VERCEL),
    (".vercel", VERCEL),
    (".vercelignore", VERCEL),
    (".wrangler", CLOUDFLARE),
    ("_routes.json", CLOUDFLARE),
    ("_worker.bundle", CLOUDFLARE),
    ("_worker.js", CLOUDFLARE),
    ("database.rules.json", FIREBASE),
    ("firebase.json", FIREBASE),
    ("firestore.indexes.json", FIREBASE),
    ("firestore.rules", FIREBASE),
    ("netlify.toml", NETLIFY),
    ("netlify/edge-functions", NETLIFY),
    ("netlify/functions", NETLIFY),
    ("now.json", VERCEL),
    ("storage.rules", FIREBASE),
    ("vercel.json", VERCEL),
    ("vercel.ts", VERCEL),
    ("wrangler.json", CLOUDFLARE),
    ("wrangler.jsonc", CLOUDFLARE),
    ("wrangler.toml", CLOUDFLARE),
];
const CLOUDFLARE: &str = "Cloudflare";
const FIREBASE: &str = "Firebase";
const NETLIFY: &str = "Netlify";
const VERCEL: &str = "Vercel";

/// Folder of packages at the top; deeper folders of the name contain output of a build, such as fonts and images.
const PACKAGES: &str = "node_modules";

/// Returns true if files and folders of this name are left out everywhere, folders with their content.
///
/// Upper case counts as lower case, since such names come from case-insensitive file systems.
#[must_use]
pub fn is_left_out(name: &str) -> bool {
    let name = name.to_lowercase();
    matches!(name.as_str(), ".git" | ".ds_store" | "__macosx")
        || name.starts_with(".env")
        || name.starts_with(".dev.vars")
        || CREDENTIALS.contains(&name.as_str())
        || KEY_ENDINGS.iter().chain(&SCRIPT_ENDINGS).any(|ending| name.ends_with(ending))
}

/// Returns the part of `path`, a path from the top of the folder, that is left out with its content.
///
/// ```
/// use devanture_config::manifest::leave_out::left_out_part;
/// assert_eq!(left_out_part("node_modules/a/index.js"), Some("node_modules"));
/// assert_eq!(left_out_part("assets/node_modules/font.ttf"), None);
/// assert_eq!(left_out_part("assets/.git/config"), Some("assets/.git"));
/// ```
#[must_use]
pub fn left_out_part(path: &str) -> Option<&str> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.filter_map(|end| path.get(..end)).find(|part| is_left_out_itself(part))
}

/// Returns true if the file or folder at `path`, from the top of the bundle, is left out by its own name.
#[must_use]
pub fn is_left_out_itself(path: &str) -> bool {
    match path.rsplit_once('/') {
        Some((_, name)) => is_left_out(name),
        None => is_left_out(path) || path.eq_ignore_ascii_case(PACKAGES),
    }
}

/// Returns the provider that runs or reads the file at `path`, from the top of the folder, without serving the file.
#[must_use]
pub fn provider_of(path: &str) -> Option<&'static str> {
    OF_PROVIDERS.iter().find(|(known, _)| path.eq_ignore_ascii_case(known)).map(|(_, provider)| *provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_left_out_at_the_top_alone_and_secrets_everywhere() {
        for (path, part) in [
            ("node_modules", Some("node_modules")),
            ("Node_Modules/x/y.js", Some("Node_Modules")),
            ("assets/node_modules/@expo/font.ttf", None),
            ("_expo/static/node_modules", None),
            ("a/node_modules/.env", Some("a/node_modules/.env")),
            ("a/.dev.vars.production", Some("a/.dev.vars.production")),
            ("a/b/id_rsa/c", Some("a/b/id_rsa")),
            ("a/b", None),
        ] {
            assert_eq!(left_out_part(path), part, "{path}");
        }
    }

    #[test]
    fn what_a_provider_reads_is_known_at_the_top_alone() {
        for (path, provider) in [
            ("_worker.js", Some("Cloudflare")),
            ("Vercel.json", Some("Vercel")),
            ("vercel.ts", Some("Vercel")),
            ("docs/vercel.ts", None),
            ("netlify/functions", Some("Netlify")),
            ("firebase.json", Some("Firebase")),
            ("docs/vercel.json", None),
            ("netlify", None),
            ("api", None),
            ("functions", None),
            ("_redirects", None),
        ] {
            assert_eq!(provider_of(path), provider, "{path}");
        }
    }

    #[test]
    fn secrets_and_litter_are_left_out() {
        for name in [".git", ".DS_Store", "__MACOSX", ".dev.vars", ".env", ".ENV.local", "server.key", "a.PEM"] {
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
