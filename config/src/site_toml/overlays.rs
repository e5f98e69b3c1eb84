//! Overlays: `devanture.staging.toml` beside `devanture.toml` has the differences of `staging`.

use super::layer::Layer;
use super::procfile::FindProcfile;
use super::serving_table::serving;
use super::site_file::SiteFile;
use crate::names::{Canonical, PlaceName};
use crate::parsing::reader::Reader;
use crate::parsing::{Mistake, Mistakes, Weight};

/// Keys common to all environments, which belong in `devanture.toml`.
const BASE_KEYS: [&str; 8] = ["app", "apps", "env", "exclude", "include", "types", "url", "www"];

/// Overlay found beside `devanture.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverlayText<'t> {
    /// Name, for display.
    pub file: &'t str,
    /// Environment in the name, possibly invalid.
    pub place: &'t str,
    /// Content.
    pub text: &'t str,
}

impl SiteFile {
    /// Parses `text`, if present, and overlays each environment's table `[env.*]` with its overlay in `overlays`.
    ///
    /// # Errors
    /// All mistakes of all files.
    pub fn parse_with(file: &str, text: Option<&str>, overlays: &[OverlayText<'_>]) -> Result<Self, Mistakes> {
        Self::parse_with_procfile(file, text, overlays, &mut |_| None)
    }

    /// Parses like [`SiteFile::parse_with`], with a `Procfile` from `find` if no start of a backend is set.
    ///
    /// # Errors
    /// All mistakes of all files.
    pub fn parse_with_procfile(
        file: &str,
        text: Option<&str>,
        overlays: &[OverlayText<'_>],
        find: &mut FindProcfile<'_>,
    ) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut site = match Self::read(file, text.unwrap_or_default()) {
            Ok(site) => Some(site),
            Err(found) => {
                mistakes.extend(found.0);
                None
            }
        };
        let has_apps = site.as_ref().is_some_and(|site| !site.apps.is_empty());
        for overlay in overlays {
            if has_apps {
                mistakes.push(of_no_app(overlay));
                continue;
            }
            match layer(overlay, site.as_ref()) {
                Ok(layer) => site = site.map(|site| site.with(layer)),
                Err(found) => mistakes.extend(found.0),
            }
        }
        match site {
            Some(site) if mistakes.is_empty() => site.with_procfiles(find)?.with_its_routes(),
            _ => Err(Mistakes(mistakes)),
        }
    }

    fn with(mut self, layer: Layer) -> Self {
        if let Some(place) = &layer.place {
            let table = self.env.remove(place).unwrap_or_default();
            self.env.insert(place.clone(), table.overlaid_by(&layer.serving));
        }
        self.layers.push(layer);
        self
    }
}

/// Makes the error of an overlay beside a file of several apps.
fn of_no_app(overlay: &OverlayText<'_>) -> Mistake {
    let message = "it does not say which app it is for, and devanture.toml has several".to_owned();
    let hint = format!("write it in devanture.toml, below [apps.NAME.env.{}]", overlay.place);
    Mistake { file: overlay.file.to_owned(), line: 0, weight: Weight::Mistake, message, hint: Some(hint) }
}

/// Parses an overlay; `site` is the layer below, as far as readable.
fn layer(overlay: &OverlayText<'_>, site: Option<&SiteFile>) -> Result<Layer, Mistakes> {
    let place = overlay.place.parse::<PlaceName>().map_err(|error| {
        let message = format!("its name stands for no environment: {error}");
        let hint =
            "an overlay is called devanture.ENV.toml, such as devanture.staging.toml: rename it, or move it away";
        let file = overlay.file.to_owned();
        Mistakes(vec![Mistake { file, line: 0, weight: Weight::Mistake, message, hint: Some(hint.to_owned()) }])
    })?;
    let reader = Reader::new(overlay.file, overlay.text);
    let document = reader.document();
    let table = reader.table(document.get_ref(), 0..0, "");
    for key in BASE_KEYS {
        let message = format!("`{key}` is not for one environment alone");
        let hint = match key {
            "env" => "everything in this file is for its environment: write its keys without [env.…]",
            _ => "write it in devanture.toml",
        };
        table.misplaced(key, message, hint);
    }
    if let Some(server) = table.table("server") {
        for key in ["dir", "exclude", "include"] {
            let message = format!("`server.{key}` is the same in every environment");
            server.misplaced(key, message, "write it in devanture.toml");
        }
    }
    let over = serving(&table);
    let beneath = site.and_then(|site| site.env.get(&place)).cloned().unwrap_or_default();
    let merged = beneath.overlaid_by(&over);
    if let (Some(Canonical::Name(name)), Some(hostnames)) = (&merged.canonical, &merged.hostnames)
        && !hostnames.contains(&name.clone().into())
    {
        let key = if over.canonical.is_some() { "canonical" } else { "hostnames" };
        if over.canonical.is_some() || over.hostnames.is_some() {
            let message = format!("`canonical`: {name} is not one of the `hostnames` of {place}");
            table.mistake(key, message, Some("add it there, or write canonical = \"none\""));
        }
    }
    table.finish();
    let layer = Layer::new(overlay.file, Some(place), over, &table);
    drop(table);
    drop(document);
    reader.finish(Some(layer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site_toml::{NotFound, overlay_of};

    const BASE: &str = "app = \"shop\"\n[cache]\n\"/a\" = \"1h\"\n[env.staging]\nnot_found = \"none\"\n\
        hostnames = [\"a.example.org\"]\n[env.staging.cache]\n\"/b\" = \"1h\"\n";

    fn read(base: Option<&str>, overlays: &[(&str, &str)]) -> Result<SiteFile, Vec<String>> {
        let names: Vec<String> = overlays.iter().map(|(place, _)| format!("devanture.{place}.toml")).collect();
        let overlays: Vec<OverlayText<'_>> = overlays
            .iter()
            .zip(&names)
            .map(|((_, text), file)| OverlayText { file, place: overlay_of("devanture.toml", file).unwrap(), text })
            .collect();
        let read = SiteFile::parse_with("devanture.toml", base, &overlays);
        read.map_err(|mistakes| mistakes.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_overlay_is_laid_over_the_table_of_its_environment() {
        let overlay = "html_handling = \"none\"\nhostnames = [\"b.example.org\"]\n[cache]\n\"/a\" = \"1d\"\n";
        let site = read(Some(BASE), &[("staging", overlay), ("preview", "not_found = \"none\"\n")]).unwrap();
        let staging = site.base.clone().overlaid_by(&site.env[&"staging".parse().unwrap()]);
        assert_eq!(staging.not_found, Some(NotFound::None));
        assert_eq!(staging.hostnames.unwrap()[0].as_str(), "b.example.org");
        let cache: Vec<(String, String)> =
            staging.cache.unwrap().into_iter().map(|(path, rule)| (path, rule.control)).collect();
        assert_eq!(cache, [("/a".to_owned(), "1d".to_owned()), ("/b".to_owned(), "1h".to_owned())]);
        assert_eq!(site.env[&"preview".parse().unwrap()].not_found, Some(NotFound::None));
        // The overlay is equivalent to a table in the single file: the manifest, and so the version's id, is the same.
        let table = "app = \"shop\"\n[cache]\n\"/a\" = \"1h\"\n[env.staging]\nnot_found = \"none\"\n\
            hostnames = [\"b.example.org\"]\nhtml_handling = \"none\"\n[env.staging.cache]\n\"/b\" = \"1h\"\n\"/a\" = \"1d\"\n\
            [env.preview]\nnot_found = \"none\"\n";
        let whole = SiteFile::parse("devanture.toml", table).unwrap();
        assert_eq!((whole.base, whole.env), (site.base, site.env));
        // Without a `devanture.toml`, an overlay has the same effect.
        assert_eq!(read(None, &[("staging", "")]).unwrap().env.len(), 1);
    }

    #[test]
    fn all_mistakes_of_all_files_are_reported_with_their_file_and_line() {
        let overlay = "app = \"other\"\nnot_fuond = \"none\"\n[env.staging]\n[[routes]]\npath = \"/a\"\n";
        let found = read(Some("not_found = 1\n"), &[("staging", overlay), ("Prod.local", "")]).unwrap_err();
        let begins: Vec<&str> = found.iter().map(|text| text.split(": ").next().unwrap()).collect();
        let file = "devanture.staging.toml";
        let expected = [
            "devanture.toml:1".to_owned(),
            format!("{file}:1"),
            format!("{file}:2"),
            format!("{file}:3"),
            format!("{file}:4"),
            "devanture.Prod.local.toml".to_owned(),
        ];
        assert_eq!(begins, expected, "{found:#?}");
        assert!(found[1].contains("write it in devanture.toml"), "{}", found[1]);
        assert!(found[2].contains("did you mean `not_found`?"), "{}", found[2]);
        assert!(found[5].contains("stands for no environment"), "{}", found[5]);
    }

    #[test]
    fn the_canonical_hostname_is_one_of_those_that_hold_together() {
        for (overlay, is_fine) in [
            ("canonical = \"a.example.org\"", true),
            ("canonical = \"b.example.org\"", false),
            ("canonical = \"b.example.org\"\nhostnames = [\"b.example.org\"]", true),
            ("canonical = \"a.example.org\"\nhostnames = [\"b.example.org\"]", false),
        ] {
            assert_eq!(read(Some(BASE), &[("staging", overlay)]).is_ok(), is_fine, "{overlay}");
        }
        let base = format!("{BASE}\n[env.next]\ncanonical = \"a.example.org\"\n");
        let found = read(Some(&base), &[("next", "\nhostnames = [\"b.example.org\"]\n")]).unwrap_err();
        assert!(found[0].starts_with("devanture.next.toml:2: "), "{found:?}");
    }

    #[test]
    fn of_several_apps_an_overlay_says_nothing() {
        let found = read(Some("[apps.a]\nwww = \"a\"\n"), &[("staging", "not_found = \"none\"\n")]).unwrap_err();
        assert!(found[0].starts_with("devanture.staging.toml: ") && found[0].contains("[apps.NAME.env.staging]"));
    }

    #[test]
    fn only_what_stands_beside_the_file_and_is_named_after_it_is_an_overlay() {
        for (file, name, place) in [
            ("devanture.toml", "devanture.staging.toml", Some("staging")),
            ("devanture.toml", "devanture.a.b.toml", Some("a.b")),
            ("devanture.toml", "devanture..toml", Some("")),
            ("devanture.toml", "devanture.toml", None),
            ("devanture.toml", "devanture.staging.toml.bak", None),
            ("devanture.toml", "devanture.a/b.toml", None),
            ("site.toml", "devanture.staging.toml", None),
            ("site.toml", "site.prod.toml", Some("prod")),
            ("site", "site.prod.toml", None),
        ] {
            assert_eq!(overlay_of(file, name), place, "{file} {name}");
        }
    }
}
