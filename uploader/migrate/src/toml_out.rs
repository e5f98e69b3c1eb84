//! Writes the result as a readable `devanture.toml`: each rule names its line of origin.

use std::fmt::Write;

use devanture_config::text::toml_text::{key, quoted};

use super::moved::{Headers, Moved, Rule};

/// The text of the file.
pub(crate) fn site_file(moved: &Moved, provider: &str, app: &str, www: Option<&str>) -> String {
    let mut text =
        format!("# Written by `devanture init --from {provider}`; where rules come from is said above them.\n\n");
    line(&mut text, "app", &quoted(app));
    match www {
        Some(www) => line(&mut text, "www", &quoted(www)),
        None => text.push_str("# www = \"dist\"    # the folder that your build writes: none was found\n"),
    }
    if !moved.exclude.is_empty() {
        comment(&mut text, "What was served to nobody there.");
        text.push_str("exclude = [\n");
        for glob in &moved.exclude {
            writeln!(text, "    {},", quoted(glob)).ok();
        }
        text.push_str("]\n");
    }
    if let Some(rules) = moved.rules {
        comment(&mut text, "Whose meaning _redirects and _headers have.");
        line(&mut text, "rules", &quoted(rules.word()));
    }
    if let Some(justified) = &moved.html_handling {
        comment(&mut text, &justified.because);
        line(&mut text, "html_handling", &quoted(justified.word.word()));
    }
    if let Some(justified) = &moved.not_found {
        comment(&mut text, &justified.because);
        line(&mut text, "not_found", &quoted(justified.word.word()));
    }
    if !moved.upstreams.is_empty() {
        comment(&mut text, "Sites that rewrites may lead to; no other answers below this one.");
        text.push_str("[upstreams]\n");
        for (name, origin) in &moved.upstreams {
            line(&mut text, &key(name), &quoted(origin));
        }
    }
    for (name, rules) in [("redirects", &moved.redirects), ("rewrites", &moved.rewrites)] {
        let mut before = 0;
        for rule in rules {
            origin(&mut text, moved, rule.line, &mut before);
            write_rule(&mut text, name, rule);
        }
    }
    let mut before = 0;
    for rule in &moved.headers {
        origin(&mut text, moved, rule.line, &mut before);
        write_headers(&mut text, rule);
    }
    text
}

fn origin(text: &mut String, moved: &Moved, line: usize, before: &mut usize) {
    // Several rules of one line share a comment.
    if *before == line {
        text.push('\n');
    } else {
        comment(text, &format!("{}:{line}", moved.file));
    }
    *before = line;
}

fn comment(text: &mut String, comment: &str) {
    let comment: String = comment.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Writing to a text does not fail.
    writeln!(text, "\n# {comment}").ok();
}

fn line(text: &mut String, key: &str, value: &str) {
    writeln!(text, "{key} = {value}").ok();
}

fn write_rule(text: &mut String, name: &str, rule: &Rule) {
    writeln!(text, "[[{name}]]").ok();
    line(text, "from", &quoted(&rule.from));
    line(text, "to", &quoted(&rule.to));
    if let Some(status) = rule.status {
        line(text, "status", &status.to_string());
    }
    if rule.force {
        line(text, "force", "true");
    }
    if !rule.query.is_empty() {
        let pairs: Vec<String> =
            rule.query.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value))).collect();
        line(text, "query", &format!("{{ {} }}", pairs.join(", ")));
    }
    if !rule.languages.is_empty() {
        line(text, "languages", &list(&rule.languages));
    }
    if !rule.cookies.is_empty() {
        line(text, "cookies", &list(&rule.cookies));
    }
}

fn write_headers(text: &mut String, rule: &Headers) {
    text.push_str("[[headers]]\n");
    line(text, "for", &quoted(&rule.path));
    let value = |values: &[String]| match values {
        [one] => quoted(one),
        several => list(several),
    };
    match rule.set.as_slice() {
        [] => {}
        [(name, values)] => line(text, "set", &format!("{{ {} = {} }}", key(name), value(values))),
        // An inline table has one line; with dotted keys each field has a separate line.
        several => several.iter().for_each(|(name, values)| line(text, &format!("set.{}", key(name)), &value(values))),
    }
    if !rule.basic_auth.is_empty() {
        line(text, "basic_auth", &list(&rule.basic_auth));
    }
}

fn list(texts: &[String]) -> String {
    let items: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", items.join(", "))
}
