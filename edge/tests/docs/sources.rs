//! User-facing text of sources outside `docs`: manifests, comments, and examples in comments.

use devanture_config::edge_toml::{EdgeFile, NODE_VARIABLE, NodeIdentity};

use super::{files, read};

#[test]
fn the_configuration_of_each_manifest_of_kubernetes_is_one_that_an_edge_takes() {
    for (manifest, nodes) in [("deploy/kubernetes.yaml", 1), ("deploy/kubernetes-cluster.yaml", 3)] {
        let text = read(manifest);
        assert!(text.contains(&format!("\n  replicas: {nodes}\n")), "{manifest}");
        let (_, rest) = text.split_once("  edge.toml: |\n").unwrap();
        let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        let toml: String = lines.map(|line| format!("{}\n", line.trim_start_matches("    "))).collect();
        let of_pod = |name: &str| {
            assert_eq!(text.contains(&format!("- name: {name}\n")), nodes > 1, "{manifest}");
            Some(if name == NODE_VARIABLE { "devanture-0" } else { "10.0.0.21" }.to_owned())
        };
        let file = EdgeFile::parse_for(&NodeIdentity::from_variables(of_pod), "edge.toml", &toml)
            .unwrap_or_else(|mistakes| panic!("{manifest}: {mistakes}"));
        assert_eq!(file.cluster.is_some(), nodes > 1, "{manifest}");
    }
}

#[test]
fn examples_in_documentation_comments_are_of_crates_whose_examples_run() {
    for crate_folder in ["edge", "site"] {
        assert!(read(&format!("{crate_folder}/Cargo.toml")).contains("doctest = false"), "{crate_folder}");
        for path in files(".rs").iter().filter(|path| path.starts_with(&format!("{crate_folder}/src/"))) {
            let comments = read(path);
            let comments = comments.lines().map(str::trim_start).filter(|line| line.starts_with("//"));
            // Every second fence closes a block.
            let fences = comments.filter_map(|line| line.trim_start_matches(['/', '!', ' ']).strip_prefix("```"));
            let languages: Vec<&str> = fences.step_by(2).collect();
            assert!(languages.iter().all(|language| *language == "text"), "{path}: {languages:?}");
        }
    }
}

/// `rustfmt` wraps code at `max_width` and leaves comments unchanged.
#[test]
fn comments_are_no_wider_than_code() {
    let width = read("rustfmt.toml").lines().find_map(|line| line.strip_prefix("max_width = ")?.parse::<usize>().ok());
    // Each comment of the file is a cell of a document's table, on one line so that the list stays short.
    let paths = files(".rs").into_iter().filter(|path| path != "config/src/limits/mod.rs");
    let wide: Vec<String> = paths.flat_map(|path| wide_comments(&path, width.unwrap())).collect();
    assert!(wide.is_empty(), "{}", wide.join("\n"));
}

/// Comment lines of a file with more than `width` characters.
fn wide_comments(path: &str, width: usize) -> Vec<String> {
    let text = read(path);
    let lines = text.lines().enumerate();
    let wide = lines.filter(|(_, line)| line.trim_start().starts_with("//") && line.chars().count() > width);
    wide.map(|(index, line)| format!("{path}:{}: {}", index + 1, line.trim_start())).collect()
}
