//! Fingerprinted names, as written by generators, and names without a fingerprint.

use std::hint::black_box;

use proptest::prelude::*;

use super::*;

/// Names written by the generators, in the given versions, when `tools/sites` built our sites.
#[test]
fn names_that_generators_wrote_are_fingerprinted() {
    #[rustfmt::skip]
    let cases = [
        // path, before the token, after it
        // Vite 6.4.6
        ("assets/index-BKKq58ag.css",                "assets/index-",             ".css"),
        ("assets/plant-2T29vTaN.js",                 "assets/plant-",             ".js"),
        ("assets/plants-xrPg_YvM.js",                "assets/plants-",            ".js"),
        ("assets/index-O9UWt-Vy.css",                "assets/index-",             ".css"),
        ("assets/leaf-large-DbYQWlob.svg",           "assets/leaf-large-",        ".svg"),
        ("assets/part31-Celm-_Oh.js",                "assets/part31-",            ".js"),
        // Rollup 4.68.7
        ("main-BO3_K1PZ.js",                         "main-",                     ".js"),
        ("chunks/plants.C4THrfKe.js",                "chunks/plants.",            ".js"),
        ("assets/site-aCeL5j_8.css",                 "assets/site-",              ".css"),
        // webpack 5.112.2
        ("main.ed3f8d47d5d1f6f614a6.js",             "main.",                     ".js"),
        ("runtime.964cb071dce6c18685b5.js",          "runtime.",                  ".js"),
        ("common_list_js.1ca4315fbf48febe4cae.js",   "common_list_js.",           ".js"),
        ("8e4f5488d01106d06057.svg",                 "",                          ".svg"),
        // esbuild 0.28.2
        ("chunk-SM2L6GGX.js",                        "chunk-",                    ".js"),
        ("list-EUF7ODWW.js",                         "list-",                     ".js"),
        ("assets/leaf-EVYVBW7L.svg",                 "assets/leaf-",              ".svg"),
        // Parcel 2.16.4
        ("parcel.e4d9418a.js",                       "parcel.",                   ".js"),
        ("leaf-large.b8603dc9.svg",                  "leaf-large.",               ".svg"),
        // Next 16.4.6 (Turbopack)
        ("_next/static/chunks/0li7vzj18bfpo.js",     "_next/static/chunks/",      ".js"),
        ("_next/static/chunks/08mika-44sn50.js",     "_next/static/chunks/",      ".js"),
        ("_next/static/chunks/3m57awqa57n_-.css",    "_next/static/chunks/",      ".css"),
        ("_next/static/chunks/34-27eriya6iy.js",     "_next/static/chunks/",      ".js"),
        ("_next/static/chunks/turbopack-2u1d16houkiyo.js", "_next/static/chunks/turbopack-", ".js"),
        ("_next/static/media/leaf.2s6ql1ne9iscl.svg", "_next/static/media/leaf.", ".svg"),
        ("docs/_next/static/media/dots.2-4kze0kyfzi6.svg", "docs/_next/static/media/dots.", ".svg"),
        // Next 15.5.29 (webpack)
        ("_next/static/chunks/4bd1b696-c023c6e3521b1417.js", "_next/static/chunks/4bd1b696-", ".js"),
        ("_next/static/chunks/app/plants/[name]/page-ecb3e71fed87d71c.js", "_next/static/chunks/app/plants/[name]/page-", ".js"),
        ("_next/static/chunks/main-app-e6a68a2c096c1b1a.js", "_next/static/chunks/main-app-", ".js"),
        ("_next/static/css/667e3496474e439a.css",    "_next/static/css/",         ".css"),
        ("_next/static/media/leaf.257150db.svg",     "_next/static/media/leaf.",  ".svg"),
        // Nuxt 3.21.11
        ("_nuxt/BjwzkbBf.js",                        "_nuxt/",                    ".js"),
        ("_nuxt/6dcrV2ll.js",                        "_nuxt/",                    ".js"),
        ("_nuxt/error-404.DL_4WIao.css",             "_nuxt/error-404.",          ".css"),
        ("_nuxt/about.BluFPCvg.css",                 "_nuxt/about.",              ".css"),
        // Astro 5.7.14
        ("_astro/page.DlXkxCA4.js",                  "_astro/page.",              ".js"),
        ("_astro/about.Bwmq5vv-.css",                "_astro/about.",             ".css"),
        ("_astro/Counter.astro_astro_type_script_index_0_lang.CfF_myxR.js", "_astro/Counter.astro_astro_type_script_index_0_lang.", ".js"),
        // SvelteKit 2.70.4
        ("_app/immutable/entry/start.CkifbC3u.js",   "_app/immutable/entry/start.", ".js"),
        ("_app/immutable/nodes/3.D_N7AnyV.js",       "_app/immutable/nodes/3.",   ".js"),
        ("_app/immutable/chunks/-UyI9lYi.js",        "_app/immutable/chunks/",    ".js"),
        ("_app/immutable/assets/0.DkqBDVCU.css",     "_app/immutable/assets/0.",  ".css"),
        // VitePress 1.6.4
        ("assets/plants_fern.md.BfxCn8hM.js",        "assets/plants_fern.md.",    ".js"),
        ("assets/plants_fern.md.BfxCn8hM.lean.js",   "assets/plants_fern.md.",    ".lean.js"),
        ("assets/chunks/@localSearchIndexroot.CoUtcfz7.js", "assets/chunks/@localSearchIndexroot.", ".js"),
        ("assets/inter-roman-greek-ext.CqjqNYQ-.woff2", "assets/inter-roman-greek-ext.", ".woff2"),
        ("assets/style.qp7qGaqN.css",                "assets/style.",             ".css"),
        // Docusaurus 3.10.2
        ("assets/js/runtime~main.476f271a.js",       "assets/js/runtime~main.",   ".js"),
        ("assets/js/17896441.2590cf00.js",           "assets/js/17896441.",       ".js"),
        ("assets/css/styles.73449c8b.css",           "assets/css/styles.",        ".css"),
        // Angular 20.3
        ("main-CRUSVVA7.js",                         "main-",                     ".js"),
        ("chunk-4BKGZN3D.js",                        "chunk-",                    ".js"),
        ("styles-73GJ3XLV.css",                      "styles-",                   ".css"),
        ("media/dots-RVWOZ2WC.svg",                  "media/dots-",               ".svg"),
        // Gatsby 5.16.1
        ("component---src-pages-index-js-494a819bc2356f138995.js", "component---src-pages-index-js-", ".js"),
        ("webpack-runtime-b8e958eb6b29a7e1c0c5.js",  "webpack-runtime-",          ".js"),
        ("styles.9da783103090079c8a1e.css",          "styles.",                   ".css"),
        ("454-42178032bb8c6106d2ae.js",              "454-",                      ".js"),
    ];
    for (path, before, after) in cases {
        assert_eq!(pattern(path), Some((before, after)), "{path}");
    }
}

/// Names from the documentation of the generators, and names of the same forms.
#[test]
fn names_that_documentation_shows_are_fingerprinted() {
    #[rustfmt::skip]
    let cases = [
        // path, before the token, after it
        // Vite, Rollup
        ("assets/index-B3xY9_aZ.js",             "assets/index-",        ".js"),
        ("assets/home-DFSS0TQZ.js",              "assets/home-",         ".js"),
        ("assets/index-DiwrgTda.css",            "assets/index-",        ".css"),
        ("assets/shared-ChJ_j-JJ.css",           "assets/shared-",       ".css"),
        ("assets/foo-BRBmoGS9.js",               "assets/foo-",          ".js"),
        ("assets/bar-gkvgaI9m.js",               "assets/bar-",          ".js"),
        ("assets/baz-B2H3sXNv.js",               "assets/baz-",          ".js"),
        ("assets/index-legacy-CPDhe4bE.js",      "assets/index-legacy-", ".js"),
        ("assets/KaTeX_Main-Regular-B22Nviop.woff2", "assets/KaTeX_Main-Regular-", ".woff2"),
        ("app.3f2a91bc.js",                      "app.",                 ".js"),
        ("name-5d41402a.js",                     "name-",                ".js"),
        ("index-AbCdEfGh.js",                    "index-",               ".js"),
        // webpack
        ("main.4f2a91bc03de.js",                 "main.",                ".js"),
        ("4f2a91bc03de5a6b.js",                  "",                     ".js"),
        ("123.4f2a91bc.chunk.js",                "123.",                 ".chunk.js"),
        ("static/css/main.f855e6bc.chunk.css",   "static/css/main.",     ".chunk.css"),
        ("static/media/logo.6ce24c58.svg",       "static/media/logo.",   ".svg"),
        ("1018.4f2a91bc03de5a6b7c8d.js",         "1018.",                ".js"),
        ("31d6cfe0d16ae931b73c.woff2",           "",                     ".woff2"),
        // Next
        ("_next/static/chunks/framework-64ad27b21261a9ce.js", "_next/static/chunks/framework-", ".js"),
        ("_next/static/chunks/23-4f2a91bc03de5a6b.js", "_next/static/chunks/23-", ".js"),
        ("_next/static/css/5d41402abc4b2a76.css", "_next/static/css/",   ".css"),
        ("_next/static/media/a34f9d1faa5f3315-s.p.woff2", "_next/static/media/", "-s.p.woff2"),
        // Angular, esbuild, Remix
        ("main-ABCDEFG2.js",                     "main-",                ".js"),
        ("polyfills.1a2b3c4d5e6f7a8b.js",        "polyfills.",           ".js"),
        ("chunk-7XQ2K3LM.js",                    "chunk-",               ".js"),
        ("entry.client-7XQ2K3LM.js",             "entry.client-",        ".js"),
        // Parcel, Nuxt, Astro, SvelteKit, Qwik
        ("index.a1b2c3d4.css",                   "index.",               ".css"),
        ("_nuxt/B3xY9_aZ.js",                    "_nuxt/",               ".js"),
        ("_nuxt/entry.DkXqLmAb.css",             "_nuxt/entry.",         ".css"),
        ("base/_nuxt/B3xY9_aZ.js",               "base/_nuxt/",          ".js"),
        ("_astro/index.DkX9_2ab.css",            "_astro/index.",        ".css"),
        ("_astro/penguin.DbYQWlob_Z2hXOVc.webp", "_astro/penguin.",      ".webp"),
        ("_astro/page.dataView.css",             "_astro/page.",         ".css"),
        ("_app/immutable/chunks/homePage.js",    "_app/immutable/chunks/", ".js"),
        ("_app/immutable/entry/start.BhQ2k9Xa.js", "_app/immutable/entry/start.", ".js"),
        ("_app/immutable/chunks/BhQ2k9Xa.js",    "_app/immutable/chunks/", ".js"),
        ("build/q-B3xY9_aZ.js",                  "build/q-",             ".js"),
        // Rails, Django, Hugo, Phoenix, Trunk, Blazor, Rollup in base36
        ("application-4f2a91bc03de5a6b7c8d9e0f1a2b3c4d.css", "application-", ".css"),
        ("base.27e20196a850.js",                 "base.",                ".js"),
        ("main.min.4f2a91bc03de5a6b.css",        "main.min.",            ".css"),
        ("app-4f2a91bc03de5a6b_bg.wasm",         "app-",                 "_bg.wasm"),
        ("dotnet.native.k3j9x2m1p0.wasm",        "dotnet.native.",       ".wasm"),
        ("name-1k2j3h4g.js",                     "name-",                ".js"),
        ("logo-x7k2m9p4.png",                    "logo-",                ".png"),
    ];
    for (path, before, after) in cases {
        assert_eq!(pattern(path), Some((before, after)), "{path}");
    }
}

#[test]
fn names_of_people_are_not_fingerprinted() {
    #[rustfmt::skip]
    let paths = [
        "oauth2-redirect.js", "jquery-3.7.1.min.js", "bootstrap.min.css", "IMG_20240101.jpg", "2024-01-15-report.html",
        "app-v10.2.3.js", "swagger-ui-bundle.js", "favicon-32x32.png", "report-20240115.pdf",
        // Pages, and files derived from another file.
        "index-B3xY9_aZ.html", "index-B3xY9_aZ.js.map", "index-B3xY9_aZ.js.gz", "main.4f2a91bc03de.js.LICENSE.txt",
        // Dates, sizes, numbers.
        "photo-20240115093000.jpg", "release-b20240115.js", "app.v20240115.js", "photo-12345678.jpg",
        "android-chrome-192x192.png", "og-image-1200x630.png", "hero-1920x1080.jpg", "video-1080p60fps.mp4",
        "report-2024q4v2.pdf", "photo-DSC02345.jpg", "DSC01234.JPG", "IMG-E1234567.jpg", "scan-ISBN2345.png",
        "2024-01-report.pdf", "apple-touch-icon-180x180.png", "tile.x12y2048.png", "map-z12x2048y1362.png",
        "datasheet-LM317T12.pdf", "datasheet-ESP32S3X.pdf", "iso-ISO9001A.pdf", "poster-A4-SIZE2.png", "video-4k60fps10bit.mp4",
        // A UUID identifies a file, but not its content.
        "550e8400-e29b-41d4-a716-446655440000.png", "f47ac10b-58cc-4372-a567-0e02b2c3d479.png",
        "avatar-f47ac10b-58cc-4372-a567-0e02b2c3d479.png", "_nuxt/builds/meta/f47ac10b-58cc-4372-a567-0e02b2c3d479.json",
        // Named after the build, which two builds may share, or after a query (Gatsby).
        "_nuxt/builds/meta/4f2a91bc03de5a6b.json", "_next/static/4f2a91bc03de5a6b/_buildManifest.js",
        "_next/static/4f2a91bc03de5a6b/_ssgManifest.js", "_next/static/4f2a91bc03de5a6b/_clientMiddlewareManifest.js",
        "page-data/sq/d/3159454123.json", "page-data/index/page-data.json", "_app/env.js",
        // Words.
        "jquery.dataTables.js", "jquery-dataTables.min.js", "Inter-SemiBold.woff2", "Inter-ExtraBold.woff2",
        "Inter-ExtraLight.woff2", "Inter-BoldItalic.woff2", "Poppins-LightItalic.ttf", "Inter-SemiBold600.woff2",
        "mockup-iPhone15Pro.png", "page-homePage.js", "a.jQueryForm.js", "img-MyPhoto12.png", "a-Chapter1.js",
        "swagger-ui-standalone-preset.js", "roboto-v30-latin-500italic.woff2", "my-version2.js", "my-base64encode.js",
        "my-utf8decoder.js", "my-i18nconfig.js", "babel-es2015polyfills.js", "a-mp3player.js", "app.serviceWorker.js",
        "foo-Bar-Baz2.js", "foo-bar-ba2z.js", "chapter1.js", "bootstrap5.css", "jQuery36.js", "MyApp123.js",
        "icon-closeBtn.svg", "bg-heroBgImg.png", "jquery.bxSlider.js", "font-NotoSansCJKjp.woff2", "lib-es2015min.js",
        "Montserrat-VariableFont_wght.ttf", "lib-sha256sum.js", "model-gpt4o1mini.json", "lib-h264enc1.js", "icon-menuBtn2.svg",
        "lib-win32x64.js", "lib-x86asm64.js", "app-v2beta3rc.js", "chunk-vendors.js", "main.bundle.js", "index.html",
        "_nuxt/homePage.js", "_astro/hero-version2.png",
        "README-Overview.md", "foo-camelCase.js", "bar.bundleLoader.js", "a-someThingElse.css",
        // Too short, too few characters.
        "app-4f2a91b.js", "main-a1b2.js", "sw.js", "index", "a-ABCDEFGH.js", "a-deadbeef.js", "-4f2a91bc", ".4f2a91bc.js",
        "_next/static/build1/_buildManifest.js", "_app/version.json", "4f2a91bc.js", "logo-a1b2c3d4@2x.png", "",
    ];
    for path in paths {
        assert_eq!(pattern(path), None, "{path}");
    }
}

/// A hash in a generator's form, from a seed.
fn hash(mut seed: u64, alphabet: &[u8], length: usize) -> String {
    (0..length)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(alphabet[usize::try_from(seed >> 33).unwrap() % alphabet.len()])
        })
        .collect()
}

#[test]
fn nearly_every_real_hash_is_seen() {
    let base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let base32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    #[rustfmt::skip]
    let cases: [(&str, &[u8], usize, usize); 5] = [
        // Of 10,000 hashes at least so many.
        ("base64url", base64,                8,  9_600),
        ("base64url", base64,                12, 7_500), // one in six holds a -, where it is cut; one in seven has no digit
        ("hex",       b"0123456789abcdef",   8,  9_650), // one in 43 is digits alone
        ("hex",       b"0123456789abcdef",   20, 9_990),
        ("base32",    base32,                8,  7_900), // one in five has no digit
    ];
    for (name, alphabet, length, least) in cases {
        let seen = (0..10_000).filter(|&seed| {
            let token = hash(seed * 7_919 + 1, alphabet, length);
            is_fingerprinted(&format!("assets/index-{token}.js"))
        });
        let seen = seen.count();
        assert!(seen >= least, "{name} of {length}: {seen}");
    }
}

proptest! {
    #[test]
    fn before_token_and_after_make_the_path(path in "([a-zA-Z_]{0,8}/)?[a-zA-Z]{0,6}[-.]?[-A-Za-z0-9_]{8,16}(\\.min)?\\.(js|css|html)") {
        if let Some((before, after)) = pattern(&path) {
            let token = &path[before.len()..path.len() - after.len()];
            prop_assert!(path.starts_with(before) && path.ends_with(after));
            prop_assert!(token.len() >= TOKEN_CHARS_MIN && !token.contains('/') && !path.ends_with(".html"));
        }
    }

    #[test]
    fn no_text_makes_it_panic(path in any::<String>(), tail in "\\PC{8}\\.js") {
        black_box(pattern(&path));
        black_box(pattern(&format!("{path}-{tail}")));
    }
}
