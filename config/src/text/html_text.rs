//! Text in HTML.

/// Escapes text for HTML, both as the content of an element and as a quoted attribute.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_text_and_never_markup() {
        assert_eq!(escaped("<b a='1' c=\"2\">&amp;\n"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp;\n");
    }
}
