//! `check --explain`: each value that holds in an environment, and the file and line that say it.

use devanture_config::PlaceName;
use devanture_config::site_toml::{Explained, Origin, Rules};
use serde_json::{Value, json};

use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;

/// Everything that holds in one environment.
pub(crate) struct Explanation {
    place: PlaceName,
    values: Vec<Explained>,
}

/// What is to be explained, where `--explain` asks for it; `guessed` is whose meaning the files of rules are taken to
/// have.
///
/// # Errors
/// Where the environment is no name.
pub(crate) fn explained(context: &Context, guessed: Option<Rules>) -> Result<Option<Explanation>, Failure> {
    if !context.is_explaining {
        return Ok(None);
    }
    let place = context.place()?;
    let values = context.project.site.explain(Some(&place), guessed);
    Ok(Some(Explanation { place, values }))
}

impl Explanation {
    /// As a member of the line of `--json`.
    pub(crate) fn json(&self) -> Value {
        let values: Vec<Value> = self.values.iter().map(one).collect();
        json!({ "environment": self.place, "values": values })
    }

    /// The text for a person: a line per value.
    pub(crate) fn lines(&self, style: Style) -> Vec<String> {
        let texts: Vec<String> = self.values.iter().map(|one| format!("{} = {}", one.key, one.shown())).collect();
        let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).min(WIDTH_MAX);
        let mut lines = vec![format!("In {}:", self.place)];
        lines.extend(
            texts
                .iter()
                .zip(&self.values)
                .map(|(text, one)| format!("  {text:<width$}  {}", style.dim(&origin(&one.origin)))),
        );
        lines
    }
}

/// Where origins stand at most; a longer value moves its own alone.
const WIDTH_MAX: usize = 60;

fn one(explained: &Explained) -> Value {
    let mut value = json!({ "key": explained.key, "value": explained.shown(), "from": origin(&explained.origin) });
    if let (Origin::File(at), Some(members)) = (&explained.origin, value.as_object_mut()) {
        members.insert("file".to_owned(), json!(&*at.file));
        members.insert("line".to_owned(), json!(at.line));
    }
    value
}

/// `FILE:LINE`, or a word.
fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::Guessed => "guessed".to_owned(),
        // Of a `Procfile` as a whole no line is known.
        Origin::File(at) if at.line == 0 => at.file.to_string(),
        Origin::File(at) => format!("{}:{}", at.file, at.line),
    }
}
