//! Tables and properties of `resolve`.

use proptest::prelude::*;

use super::*;

const WAYS: [HtmlHandling; 5] = [
    HtmlHandling::AsIs,
    HtmlHandling::AutoTrailingSlash,
    HtmlHandling::DropTrailingSlash,
    HtmlHandling::ForceTrailingSlash,
    HtmlHandling::None,
];

fn index(paths: &[&str]) -> PathIndex {
    let paths: Vec<BundlePath> = paths.iter().map(|path| path.parse().unwrap()).collect();
    PathIndex::new(&paths)
}

/// The file's own path, `→` and the target, or `-`.
fn shown(paths: &[&str], handling: HtmlHandling, path: &str) -> String {
    match resolve(&index(paths), handling, path) {
        Resolution::File(number) => paths[usize::try_from(number).unwrap()].to_owned(),
        Resolution::Redirect(to) => format!("→{to}"),
        Resolution::Missing => "-".to_owned(),
    }
}

#[test]
fn each_way_gives_a_page_its_place() {
    let site = &[
        "index.html",
        "about.html",
        "blog/index.html",
        "both.html",
        "both/index.html",
        "file",
        "file.html",
        "app.js",
        "deep/index/index.html",
        "bin/index",
        "404.html",
        ".secret/a.html",
        "_headers",
    ];
    #[rustfmt::skip]
    let cases = [
        // path, as-is, auto-trailing-slash, force-trailing-slash, drop-trailing-slash, none
        ("/",                 "index.html",      "index.html",      "index.html",      "index.html",      "-"),
        ("/index",            "index.html",      "→/",              "→/",              "→/",              "-"),
        ("/index.html",       "index.html",      "→/",              "→/",              "→/",              "index.html"),
        ("/index/",           "-",               "→/",              "index.html",      "→/",              "-"),
        ("/about",            "about.html",      "about.html",      "→/about/",        "about.html",      "-"),
        ("/about/",           "-",               "→/about",         "about.html",      "→/about",         "-"),
        ("/about.html",       "about.html",      "→/about",         "→/about/",        "→/about",         "about.html"),
        ("/about/index",      "-",               "→/about",         "→/about/",        "→/about",         "-"),
        ("/about/index.html", "-",               "→/about",         "→/about/",        "→/about",         "-"),
        ("/blog",             "blog/index.html", "→/blog/",         "→/blog/",         "blog/index.html", "-"),
        ("/blog/",            "blog/index.html", "blog/index.html", "blog/index.html", "→/blog",          "-"),
        ("/blog/index",       "blog/index.html", "→/blog/",         "→/blog/",         "→/blog",          "-"),
        ("/blog/index.html",  "blog/index.html", "→/blog/",         "→/blog/",         "→/blog",          "blog/index.html"),
        ("/blog.html",        "-",               "→/blog/",         "→/blog/",         "→/blog",          "-"),
        ("/both",             "both.html",       "both.html",       "→/both/",         "both.html",       "-"),
        ("/both/",            "both/index.html", "both/index.html", "both/index.html", "→/both",          "-"),
        ("/both.html",        "both.html",       "→/both",          "both.html",       "→/both",          "both.html"),
        ("/both/index",       "both/index.html", "→/both/",         "→/both/",         "→/both",          "-"),
        ("/both/index.html",  "both/index.html", "→/both/",         "→/both/",         "both/index.html", "both/index.html"),
        ("/file",             "file",            "file",            "file",            "file",            "file"),
        ("/file.html",        "file.html",       "file.html",       "→/file/",         "file.html",       "file.html"),
        ("/file/",            "-",               "-",               "file.html",       "-",               "-"),
        ("/app.js",           "app.js",          "app.js",          "app.js",          "app.js",          "app.js"),
        ("/app.js/",          "-",               "-",               "-",               "-",               "-"),
        ("/app",              "-",               "-",               "-",               "-",               "-"),
        ("/bin/index",        "bin/index",       "bin/index",       "bin/index",       "bin/index",       "bin/index"),
        ("/bin/",             "-",               "-",               "-",               "-",               "-"),
        ("/404.html",         "404.html",        "→/404",           "→/404/",          "→/404",           "404.html"),
        ("/nothing",          "-",               "-",               "-",               "-",               "-"),
        ("/About",            "-",               "-",               "-",               "-",               "-"),
        ("/.secret/a.html",   "-",               "-",               "-",               "-",               "-"),
        ("/_headers",         "-",               "-",               "-",               "-",               "-"),
    ];
    for (path, as_is, auto, force, drop, none) in cases {
        assert_eq!(shown(site, HtmlHandling::AsIs, path), as_is, "{path}, as is");
        assert_eq!(shown(site, HtmlHandling::AutoTrailingSlash, path), auto, "{path}, auto");
        assert_eq!(shown(site, HtmlHandling::ForceTrailingSlash, path), force, "{path}, force");
        assert_eq!(shown(site, HtmlHandling::DropTrailingSlash, path), drop, "{path}, drop");
        assert_eq!(shown(site, HtmlHandling::None, path), none, "{path}, none");
    }
}

#[test]
fn a_folder_with_the_name_of_a_page_is_a_folder() {
    let site = &[
        "post.html/index.html",
        "post.html/photo.jpg",
        "old.htm/index.html",
        "chart.js/index.html",
        "sub/index.html/index.html",
        "both.html/index.html",
        "both/index.html",
        "empty.html/a.txt",
    ];
    #[rustfmt::skip]
    let cases = [
        // path, as-is, auto-trailing-slash, force-trailing-slash, drop-trailing-slash, none
        ("/post.html",                site[0], "→/post.html/",      "→/post.html/",      site[0],            "-"),
        ("/post.html/",               site[0], site[0],             site[0],             "→/post.html",      "-"),
        ("/post.html/index",          site[0], "→/post.html/",      "→/post.html/",      "→/post.html",      "-"),
        ("/post.html/index.html",     site[0], "→/post.html/",      "→/post.html/",      "→/post.html",      site[0]),
        ("/post.html/photo.jpg",      site[1], site[1],             site[1],             site[1],            site[1]),
        ("/post",                     "-",     "-",                 "-",                 "-",                "-"),
        ("/old.htm",                  site[2], "→/old.htm/",        "→/old.htm/",        site[2],            "-"),
        ("/chart.js",                 site[3], "→/chart.js/",       "→/chart.js/",       site[3],            "-"),
        ("/sub/index.html",           site[4], "→/sub/index.html/", "→/sub/index.html/", site[4],            "-"),
        ("/sub/index.html/",          site[4], site[4],             site[4],             "→/sub/index.html", "-"),
        // As in Cloudflare, the page of the folder without the ending comes first.
        ("/both.html",                site[5], "→/both/",           "→/both/",           "→/both",           "-"),
        ("/both.html/",               site[5], site[5],             site[5],             "-",                "-"),
        ("/empty.html",               "-",     "-",                 "-",                 "-",                "-"),
    ];
    for (path, as_is, auto, force, drop, none) in cases {
        assert_eq!(shown(site, HtmlHandling::AsIs, path), as_is, "{path}, as is");
        assert_eq!(shown(site, HtmlHandling::AutoTrailingSlash, path), auto, "{path}, auto");
        assert_eq!(shown(site, HtmlHandling::ForceTrailingSlash, path), force, "{path}, force");
        assert_eq!(shown(site, HtmlHandling::DropTrailingSlash, path), drop, "{path}, drop");
        assert_eq!(shown(site, HtmlHandling::None, path), none, "{path}, none");
    }
}

#[test]
fn the_nearest_404_page_upwards_answers() {
    let site = &["404.html", "blog/404.html", "blog/post/a.js"];
    #[rustfmt::skip]
    let cases = [
        ("/",               "404.html"),
        ("/x",              "404.html"),
        ("/blog",           "404.html"),
        ("/blog/",          "blog/404.html"),
        ("/blog/x",         "blog/404.html"),
        ("/blog/post/x/y/", "blog/404.html"),
        ("/blogx/y",        "404.html"),
    ];
    for (path, expected) in cases {
        let number = not_found_page(&index(site), path).map(|n| usize::try_from(n).unwrap());
        assert_eq!(number.map(|n| site[n]), Some(expected), "{path}");
    }
    assert_eq!(not_found_page(&index(&["a/404.html"]), "/b/c"), None);
    assert_eq!(not_found_page(&index(&[".a/404.html"]), "/.a/c"), None);
    assert_eq!(not_found_page(&PathIndex::default(), "/b/c"), None);
}

/// Reference implementation: checks each folder upwards.
fn nearest_by_each_folder(paths: &[String], path: &str) -> Option<u32> {
    let mut folder = path.strip_prefix('/').unwrap();
    loop {
        folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
        let page = if folder.is_empty() { "404.html".to_owned() } else { format!("{folder}/404.html") };
        match paths.iter().position(|path| *path == page) {
            Some(found) => return u32::try_from(found).ok(),
            None if folder.is_empty() => return None,
            None => {}
        }
    }
}

proptest! {
    #[test]
    fn the_nearest_404_page_is_that_of_the_first_folder_upwards_that_has_one(
        folders in prop::collection::btree_set("([ab!0](/([ab!0]|a-|é)){0,4})?", 0..12),
        path in "(/([ab!0]|a-|é){0,1}){1,6}",
    ) {
        let page = |folder: &String| if folder.is_empty() { "404.html".to_owned() } else { format!("{folder}/404.html") };
        let paths: Vec<String> = folders.iter().map(page).collect();
        let names: Vec<&str> = paths.iter().map(String::as_str).collect();
        prop_assert_eq!(not_found_page(&index(&names), &path), nearest_by_each_folder(&paths, &path), "{}", path);
    }
}

#[test]
fn numbers_count_private_paths_too() {
    let index = index(&[".hidden", "a", "index.html"]);
    assert_eq!(index.exact(".hidden"), None);
    assert_eq!(index.exact("a"), Some(1));
    assert_eq!(index.exact("/a"), Some(1));
    assert_eq!(index.shell(), Some(2));
}

/// Cloudflare's decisions again, in the form of their table: by the existing files, one question after the other.
/// `None` is a miss, `Some(Err)` a redirect.
fn by_the_table(files: &[BundlePath], way: HtmlHandling, d: &str, skip: bool) -> Option<Result<u32, String>> {
    let exists = |path: &str| {
        let name = path.strip_prefix('/')?;
        files.iter().position(|file| file.as_str() == name).map(|n| u32::try_from(n).unwrap())
    };
    let redirect = |file: String, to: &str| {
        let fits = !skip
            && exists(to).is_none()
            && matches!(by_the_table(files, way, to, true), Some(Ok(n)) if Some(n) == exists(&file));
        fits.then(|| Some(Err(to.to_owned())))
    };
    let exact = exists(d);
    macro_rules! first {
        ($($file:expr => $to:expr),* $(,)?) => { $(if let Some(found) = redirect($file, &$to) { return found; })* };
    }
    let (auto, force, drop) = (
        way == HtmlHandling::AutoTrailingSlash,
        way == HtmlHandling::ForceTrailingSlash,
        way == HtmlHandling::DropTrailingSlash,
    );
    if way == HtmlHandling::None {
        return exact.map(Ok);
    }
    if let Some(x) = d.strip_suffix("/index") {
        if let Some(exact) = exact {
            return Some(Ok(exact));
        }
        if auto {
            first!(format!("{d}.html") => format!("{x}/"), format!("{x}.html") => x);
        } else if force {
            first!(format!("{d}.html") => format!("{x}/"), format!("{x}.html") => format!("{x}/"));
        } else if x.is_empty() {
            first!("/index.html".to_owned() => "/");
        } else {
            first!(format!("{x}.html") => x, format!("{d}.html") => x);
        }
    } else if let Some(x) = d.strip_suffix("/index.html") {
        if auto {
            first!(d.to_owned() => format!("{x}/"), format!("{x}.html") => x);
        } else if force {
            first!(d.to_owned() => format!("{x}/"), format!("{x}.html") => format!("{x}/"));
        } else if x.is_empty() {
            first!(d.to_owned() => "/");
        } else {
            first!(d.to_owned() => x);
            if let Some(exact) = exact {
                return Some(Ok(exact));
            }
            first!(format!("{x}.html") => x);
        }
    } else if let Some(x) = d.strip_suffix('/') {
        let index = exists(&format!("{d}index.html"));
        if let (Some(index), true) = (index, auto || force || x.is_empty()) {
            return Some(Ok(index));
        }
        if auto {
            first!(format!("{x}.html") => x);
        } else if force {
            if let Some(page) = exists(&format!("{x}.html")) {
                return Some(Ok(page));
            }
        } else if !x.is_empty() {
            first!(format!("{x}.html") => x, format!("{x}/index.html") => x);
        }
    } else if let Some(x) = d.strip_suffix(".html") {
        if auto {
            first!(d.to_owned() => x, format!("{x}/index.html") => format!("{x}/"));
        } else if force {
            first!(d.to_owned() => format!("{x}/"));
            if let Some(exact) = exact {
                return Some(Ok(exact));
            }
            first!(format!("{x}/index.html") => format!("{x}/"));
        } else {
            first!(d.to_owned() => x, format!("{x}/index.html") => x);
        }
    }
    if let Some(exact) = exact {
        return Some(Ok(exact));
    }
    let html = exists(&format!("{d}.html"));
    if force {
        first!(format!("{d}.html") => format!("{d}/"));
    } else if let Some(html) = html {
        return Some(Ok(html));
    }
    if drop {
        return exists(&format!("{d}/index.html")).map(Ok);
    }
    first!(format!("{d}/index.html") => format!("{d}/"));
    None
}

/// A folder, which may have the name of a page.
fn segment() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("index"), Just("b"), Just("a.html"), Just("index.html")]
}

/// Names that conflict, in few folders.
fn bundles() -> impl Strategy<Value = Vec<BundlePath>> {
    let name = prop_oneof![Just("a"), Just("a.html"), Just("index"), Just("index.html"), Just("index.html.html")];
    let path = (proptest::collection::vec(segment(), 0..3), name).prop_map(|(folders, name)| {
        let mut segments = folders;
        segments.push(name);
        segments.join("/").parse::<BundlePath>().unwrap()
    });
    proptest::collection::btree_set(path, 0..8).prop_map(|mut set| {
        // As in every manifest, no file is a folder too.
        let all: Vec<BundlePath> = set.iter().cloned().collect();
        set.retain(|file| !all.iter().any(|other| other.as_str().starts_with(&format!("{file}/"))));
        set.into_iter().collect()
    })
}

fn requests() -> impl Strategy<Value = String> {
    let end = prop_oneof![
        Just(""),
        Just("a"),
        Just("a.html"),
        Just("index"),
        Just("index.html"),
        Just("index.html.html"),
        Just("b.html")
    ];
    (proptest::collection::vec(segment(), 0..3), end).prop_map(|(folders, end)| {
        let folders: String = folders.iter().map(|folder| format!("{folder}/")).collect();
        format!("/{folders}{end}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn one_step_is_the_table(files in bundles(), path in requests()) {
        let index = PathIndex::new(&files);
        for way in WAYS.into_iter().filter(|way| *way != HtmlHandling::AsIs) {
            let decided = match one_step(&index, way, &path) {
                Step::File(number) => Some(Ok(number)),
                Step::Missing => None,
                Step::Redirect { to, .. } => Some(Err(to)),
            };
            let expected = by_the_table(&files, way, &path, false);
            prop_assert_eq!(decided, expected, "{:?} {} {:?}", way, path, files);
        }
    }

    #[test]
    fn a_redirect_leads_to_a_file_at_once(files in bundles(), path in requests()) {
        let index = PathIndex::new(&files);
        for way in WAYS {
            if let Resolution::Redirect(to) = resolve(&index, way, &path) {
                prop_assert!(way != HtmlHandling::AsIs && way != HtmlHandling::None);
                prop_assert!(matches!(resolve(&index, way, &to), Resolution::File(_)), "{:?} {} {} {:?}", way, path, to, files);
            }
        }
    }

    #[test]
    fn every_file_is_reached_by_its_own_path(files in bundles()) {
        let index = PathIndex::new(&files);
        for (number, file) in (0..).zip(&files) {
            for way in WAYS {
                let reached = match resolve(&index, way, &format!("/{file}")) {
                    Resolution::Redirect(to) => resolve(&index, way, &to),
                    other => other,
                };
                prop_assert_eq!(reached, Resolution::File(number), "{:?} {} {:?}", way, file, files);
            }
        }
    }
}

#[test]
fn every_way_finds_a_page_at_one_of_its_addresses_alone() {
    for (path, expected) in [
        ("index.html", &["/index.html", "/index", "/index/", "/"][..]),
        ("about.html", &["/about.html", "/about", "/about/"]),
        ("docs/index.html", &["/docs/index.html", "/docs/index", "/docs/index/", "/docs/", "/docs"]),
        ("reindex.html", &["/reindex.html", "/reindex", "/reindex/"]),
        ("app.js", &["/app.js"]),
    ] {
        assert_eq!(addresses(path), expected, "{path}");
    }
    let paths = ["index.html", "about.html", "docs/index.html", "docs/page.html", "app.js"];
    let paths: Vec<BundlePath> = paths.iter().map(|path| path.parse().unwrap()).collect();
    let index = PathIndex::new(&paths);
    for handling in [
        HtmlHandling::AsIs,
        HtmlHandling::AutoTrailingSlash,
        HtmlHandling::DropTrailingSlash,
        HtmlHandling::ForceTrailingSlash,
        HtmlHandling::None,
    ] {
        for sent in paths.iter().flat_map(|path| addresses(path.as_str())) {
            let Some(number) = ends_at(&index, handling, &sent) else { continue };
            let path = paths[usize::try_from(number).unwrap()].as_str();
            assert!(addresses(path).contains(&sent), "{handling:?}: {sent} ends at {path}");
        }
    }
}
