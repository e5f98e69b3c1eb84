//! `check --explain`: each value that applies in an environment, with its file and line.

use devanture_config::PlaceName;
use devanture_config::site_toml::{Explained, Origin, Rules};
use serde_json::{Value, json};

use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::Style;

/// All values that apply in one environment.
pub(crate) struct Explanation {
    place: PlaceName,
    values: Vec<Explained>,
}

/// Returns the explanation if `--explain` is given; `guessed` is the guessed provider of the rule files.
///
/// # Errors
/// An error if the name of the environment is invalid.
pub(crate) fn explained(context: &Context, guessed: Option<Rules>) -> Result<Option<Explanation>, Failure> {
    if !context.is_explaining {
        return Ok(None);
    }
    let place = context.place()?;
    let values = context.project.site.explain(Some(&place), guessed);
    Ok(Some(Explanation { place, values }))
}

impl Explanation {
    /// Returns the explanation as a member of the line of `--json`.
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

/// Upper bound of the column of origins; a longer value moves only its own origin.
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
        // For a `Procfile` as a whole the line is unknown.
        Origin::File(at) if at.line == 0 => at.file.to_string(),
        Origin::File(at) => format!("{}:{}", at.file, at.line),
    }
}
