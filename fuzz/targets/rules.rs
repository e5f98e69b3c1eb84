//! `_redirects` and `_headers` in both meanings: findings name existing lines, and a path never redirects to another
//! host.

#![no_main]

use devanture_site::rules::{Sources, read};
use devanture_config::site_toml::{Rules, Serving};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (redirects, headers, path) = input;
    let serving = Serving::default();
    for meaning in [Rules::Cloudflare, Rules::Netlify] {
        let (rules, findings) = read(&Sources {
            serving: &serving,
            meaning,
            redirects: Some(redirects.as_bytes()),
            headers: Some(headers.as_bytes()),
            rules_max: 1_000,
            site_file: "devanture.toml",
            at: &|_, _| devanture_site::rules::At::default(),
        });
        for finding in findings {
            let text = if finding.file == "_redirects" { redirects } else { headers };
            assert!((1..=text.split('\n').count()).contains(&finding.line), "{finding}");
        }
        let path = format!("/{}", path.trim_start_matches('/'));
        for rule in &rules.redirects {
            let Some(captures) = rule.from.matches("shop.example", &path) else { continue };
            let Some(filled) = rule.to.fill(&captures) else { continue };
            let location = filled.location(None);
            match rule.to.origin() {
                Some(_) => assert!(location.starts_with("http"), "{rule:?} {location}"),
                None => {
                    let is_here =
                        location.starts_with('/') && !location.starts_with("//") && !location.starts_with("/\\");
                    assert!(is_here, "{rule:?} {location}");
                }
            }
            assert!(!location.contains(['\r', '\n']), "{rule:?} {location}");
        }
        for rule in &rules.headers {
            assert!(
                rule.path
                    .matches("shop.example", &path)
                    .is_none_or(|captures| captures.len() <= rule.path.names().len())
            );
        }
    }
});
