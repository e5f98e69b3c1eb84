//! Halves of a bundle, front and backend, and joins of one half with the other half of a stored version.
//!
//! The backend's half consists of its folder, every `[server]` table, and the tables listed in `owns` of `[server]`.
//! The rest is the front's: files, rules, routes, smoke checks. Each part of a bundle is in exactly one half, so the
//! join of both halves of a manifest is the same manifest, with the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::site_toml::{OwnedTable, Serving};

/// Half of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// The folder of the backend and the `[server]` tables.
    Backend,
    /// The pages, and all settings but the backend's.
    Front,
}

/// Halves in a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Halves {
    /// The backend alone.
    Backend,
    /// Both.
    Both,
    /// The front alone.
    Front,
}

/// Error for an unknown half.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("one half of a bundle is `front` or `backend`")]
pub struct BadHalf;

impl FromStr for Half {
    type Err = BadHalf;

    fn from_str(text: &str) -> Result<Self, BadHalf> {
        match text {
            "backend" => Ok(Self::Backend),
            "front" => Ok(Self::Front),
            _ => Err(BadHalf),
        }
    }
}

impl fmt::Display for Half {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Backend => "backend",
            Self::Front => "front",
        })
    }
}

impl From<Half> for Halves {
    fn from(half: Half) -> Self {
        match half {
            Half::Backend => Self::Backend,
            Half::Front => Self::Front,
        }
    }
}

impl Half {
    /// Returns the other half.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Backend => Self::Front,
            Self::Front => Self::Backend,
        }
    }

    /// Extracts this half of `manifest`, as a manifest. The half may refer to pools declared in the other half, so
    /// checks come after the join.
    #[must_use]
    pub fn of(self, manifest: &Manifest) -> Manifest {
        let owned = owned_tables(manifest);
        let part = |table: &Serving| self.part(table, &owned);
        let env = manifest.env.iter().filter_map(|(name, table)| {
            let part = part(table);
            // An empty table of the file is part of the id, and belongs to the front.
            let stays = !part.is_empty() || (self == Self::Front && table.is_empty());
            stays.then(|| (name.clone(), part))
        });
        let (base, env) = (part(&manifest.base), env.collect());
        match self {
            Self::Backend => Manifest {
                base,
                env,
                files: BTreeMap::new(),
                format: manifest.format,
                guessed_rules: None,
                server: manifest.server.clone(),
            },
            Self::Front => Manifest {
                base,
                env,
                files: manifest.files.clone(),
                format: manifest.format,
                guessed_rules: manifest.guessed_rules,
                server: None,
            },
        }
    }

    /// Joins this half of one manifest with the other half of another.
    #[must_use]
    pub fn joined_with(self, own: &Manifest, other: &Manifest) -> Manifest {
        match self {
            Self::Backend => join(other, own),
            Self::Front => join(own, other),
        }
    }

    /// Extracts this half of one table.
    fn part(self, table: &Serving, owned: &BTreeSet<OwnedTable>) -> Serving {
        match self {
            Self::Backend => {
                with_tables_of(Serving { server: table.server.clone(), ..Serving::default() }, table, owned)
            }
            Self::Front => with_tables_of(Serving { server: None, ..table.clone() }, &Serving::default(), owned),
        }
    }
}

impl Halves {
    /// Returns the halves of a whole bundle; `None` without a backend, which leaves no halves to distinguish.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Option<Self> {
        let has_front = !manifest.files.is_empty();
        manifest.has_backend().then_some(if has_front { Self::Both } else { Self::Backend })
    }
}

/// Joins the front's half of one manifest with the backend's half of another.
#[must_use]
pub fn join(front: &Manifest, backend: &Manifest) -> Manifest {
    let (mut joined, backend) = (Half::Front.of(front), Half::Backend.of(backend));
    let owned = owned_tables(&backend);
    let put = |table: Serving, of_backend: &Serving| {
        with_tables_of(Serving { server: of_backend.server.clone(), ..table }, of_backend, &owned)
    };
    joined.base = put(joined.base, &backend.base);
    let nothing = Serving::default();
    let tables = std::mem::take(&mut joined.env).into_iter().map(|(name, table)| {
        let was_empty = table.is_empty();
        let table = put(table, backend.env.get(&name).unwrap_or(&nothing));
        (name, table, was_empty)
    });
    // A table left empty by the removal of owned keys is dropped.
    joined.env =
        tables.filter(|(_, table, was_empty)| *was_empty || !table.is_empty()).map(|(n, t, _)| (n, t)).collect();
    for (name, table) in backend.env {
        joined.env.entry(name).or_insert(table);
    }
    joined.server = backend.server;
    joined
}

/// Returns the tables owned by the backend of `manifest`.
fn owned_tables(manifest: &Manifest) -> BTreeSet<OwnedTable> {
    let server = manifest.base.server.as_ref();
    server.and_then(|server| server.owns.as_ref()).into_iter().flatten().copied().collect()
}

/// Replaces the owned tables of `table` by the owned tables of `from`.
fn with_tables_of(mut table: Serving, from: &Serving, owned: &BTreeSet<OwnedTable>) -> Serving {
    for one in owned {
        match one {
            OwnedTable::Cache => table.cache.clone_from(&from.cache),
            OwnedTable::Cors => table.cors.clone_from(&from.cors),
            OwnedTable::Headers => table.headers.clone_from(&from.headers),
            OwnedTable::Redirects => table.redirects.clone_from(&from.redirects),
            OwnedTable::Rewrites => table.rewrites.clone_from(&from.rewrites),
            OwnedTable::Routes => table.routes.clone_from(&from.routes),
            OwnedTable::Smoke => table.smoke.clone_from(&from.smoke),
            OwnedTable::Upstreams => table.upstreams.clone_from(&from.upstreams),
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Digest;
    use crate::manifest::{FileEntry, ServerFile, ServerFolder};
    use crate::site_toml::{OWNED_TABLES, Rules, SiteFile};

    const TABLES: [&str; 8] = [
        "not_found = \"404-page\"\n",
        "hostnames = [\"www.example.org\"]\n",
        "cors = [\"https://other.example\"]\n",
        "[cache]\n\"/fonts/*\" = { control = \"1h\" }\n",
        "[[redirects]]\nfrom = \"/old\"\nto = \"/new\"\n",
        "[[routes]]\npath = \"/x/*\"\nto = \"http://127.0.0.1:9000\"\n",
        "[[smoke]]\npath = \"/\"\n",
        "[upstreams]\napi = \"http://127.0.0.1:9001\"\n",
    ];

    /// Makes a manifest from choices of tables, owners, and content of folders.
    fn manifest(tables: u8, staging: u8, owned: u8, content: u8, has_server: bool) -> Manifest {
        let pick = |mask: u8| TABLES.iter().enumerate().filter(move |(at, _)| mask & (1 << at) != 0).map(|(_, t)| *t);
        let mut site = SiteFile::parse("f", &pick(tables & !2).collect::<String>()).unwrap();
        let overlay = SiteFile::parse("f", &pick(staging & !2).collect::<String>()).unwrap();
        let mut of_staging = overlay.base;
        let hash = |name: &str| Digest::of(format!("{name}{content}").as_bytes());
        let file = FileEntry { hash: hash("page"), size: 4, media_type: None };
        let mut manifest = Manifest::of_files([("index.html".parse().unwrap(), file)].into());
        if has_server {
            let words: Vec<String> = OWNED_TABLES
                .iter()
                .enumerate()
                .filter(|(at, _)| owned & (1 << at) != 0)
                .map(|(_, (word, _))| format!("\"{word}\""))
                .collect();
            let owns = if words.is_empty() { String::new() } else { format!("owns = [{}]\n", words.join(", ")) };
            let server = format!("[server]\ncommand = [\"run{content}\"]\nroutes = [\"/api/*\"]\n{owns}");
            site.base.server = SiteFile::parse("f", &server).unwrap().base.server;
            if content & 1 == 0 {
                of_staging.server = Some(crate::site_toml::ServerTable { memory_mb: Some(64), ..Default::default() });
            }
            let run = ServerFile { hash: hash("server"), run: true, size: 6 };
            manifest.server =
                Some(ServerFolder { files: [("run".parse().unwrap(), run)].into(), ..Default::default() });
        }
        manifest.base = site.base;
        manifest.guessed_rules = (content & 2 == 0).then_some(Rules::Netlify);
        manifest.env.insert("staging".parse().unwrap(), of_staging);
        manifest
    }

    proptest! {
        #[test]
        fn the_join_of_both_halves_is_the_whole(
            tables: u8, staging: u8, owned: u8, content: u8, has_server: bool,
        ) {
            let whole = manifest(tables, staging, owned, content, has_server);
            let (front, backend) = (Half::Front.of(&whole), Half::Backend.of(&whole));
            prop_assert_eq!(&join(&front, &backend), &whole);
            prop_assert_eq!(join(&whole, &whole).id(), whole.id());
            prop_assert_eq!(Half::Front.of(&front), front);
            prop_assert_eq!(Half::Backend.of(&backend), backend);
        }

        #[test]
        fn the_halves_of_a_join_are_those_that_were_joined(
            one in any::<(u8, u8, u8, u8)>(), other in any::<(u8, u8, u8, u8)>(),
        ) {
            let make = |(tables, staging, owned, content)| manifest(tables, staging, owned, content, true);
            let (old, new) = (make(one), make(other));
            let joined = join(&new, &old);
            prop_assert_eq!(Half::Backend.of(&joined), Half::Backend.of(&old));
            // A second push of the same backend changes nothing, in either order of halves.
            prop_assert_eq!(Half::Backend.joined_with(&old, &joined).id(), joined.id());
            prop_assert_eq!(Half::Front.joined_with(&new, &joined).id(), joined.id());
            // After pushes of both halves of a bundle, the id equals the id of a push of the whole.
            let settled = Half::Front.joined_with(&new, &Half::Backend.joined_with(&new, &old));
            prop_assert_eq!(settled.id(), new.id());
        }
    }

    #[test]
    fn routes_and_rules_are_the_fronts_unless_the_backend_owns_them() {
        let site = |text: &str| SiteFile::parse("f", text).unwrap();
        let with = |text: &str| {
            let mut manifest = manifest(0, 0, 0, 1, true);
            manifest.base = site(text).base;
            manifest
        };
        let front = with("[server]\ncommand = [\"a\"]\n[[routes]]\npath = \"/api/*\"\nto = \"server\"\n");
        let mut backend = with("[server]\ncommand = [\"b\"]\n[[routes]]\npath = \"/v2/*\"\nto = \"server\"\n");
        let paths = |manifest: &Manifest| -> Vec<String> {
            manifest.base.routes.iter().flatten().map(|route| route.path.to_string()).collect()
        };
        let joined = join(&front, &backend);
        assert_eq!(paths(&joined), ["/api/*"]);
        assert_eq!(joined.base.server, backend.base.server);
        backend.base.server.as_mut().unwrap().owns = Some(vec![OwnedTable::Routes]);
        assert_eq!(paths(&join(&front, &backend)), ["/v2/*"]);
    }

    #[test]
    fn a_version_may_have_one_half_alone() {
        let whole = manifest(255, 255, 0, 0, true);
        let nothing = Manifest::of_files(BTreeMap::new());
        let front = join(&whole, &nothing);
        assert!(front.server.is_none() && front.check().is_ok());
        let backend = join(&nothing, &whole);
        assert!(backend.files.is_empty() && backend.check().is_ok());
    }
}
