//! Reads single values out of metrics in Prometheus' text form.

/// Returns the series of a metric in `text`: the labels between the braces, and the value.
pub(super) fn series<'t>(text: &'t str, name: &str) -> impl Iterator<Item = (&'t str, f64)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.parse().ok()?))
    })
}

/// Returns the value of the first series of a metric whose labels contain `label`.
pub(super) fn value(text: &str, name: &str, label: &str) -> Option<f64> {
    series(text, name).find(|(labels, _)| labels.contains(label)).map(|(_, value)| value)
}

/// Returns the value of a label.
pub(super) fn label<'t>(labels: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = labels.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_name_and_label() {
        let text = "# HELP a b\na_total 7\na{x=\"1\",y=\"2\"} 1.5\na{x=\"3\"} nothing\nab{x=\"1\"} 9\n";
        assert_eq!(series(text, "a").collect::<Vec<_>>(), [("x=\"1\",y=\"2\"", 1.5)]);
        assert_eq!(value(text, "a_total", ""), Some(7.0));
        assert_eq!((value(text, "a", "y=\"2\""), value(text, "a", "y=\"3\"")), (Some(1.5), None));
        assert_eq!(label("x=\"1\",y=\"2\"", "y"), Some("2"));
        assert_eq!(label("x=\"1\"", "y"), None);
    }
}
