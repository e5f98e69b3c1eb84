//! Links within the documents.

use std::fs;

use super::{documents, root};

/// Anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_within_the_documents_leads_somewhere() {
    for (path, document) in documents() {
        let folder = root().join(&path).parent().unwrap().to_owned();
        for part in document.split("](").skip(1) {
            let link = part.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            assert!(target.exists(), "{path}: {link} leads nowhere");
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let headings =
                    text.lines().filter_map(|line| line.strip_prefix('#').map(|l| l.trim_start_matches('#')));
                assert!(headings.into_iter().any(|h| anchor(h) == heading), "{path}: {link} leads to no heading");
            }
        }
    }
}
