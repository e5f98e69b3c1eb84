//! Values of flags and arguments that are not plain text.

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use devanture_migrate::{FrameworkName, Provider};

/// The format of the findings of `check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line for each, on stdout
    Text,
    /// Annotations of GitHub Actions, on stdout
    Github,
    /// One line of JSON, as --json
    Json,
}

/// Reads the name of a framework.
pub(super) fn framework() -> impl TypedValueParser<Value = FrameworkName> {
    one_of(&FrameworkName::ALL, FrameworkName::name, FrameworkName::summary)
}

/// Reads the name of a provider.
pub(super) fn provider() -> impl TypedValueParser<Value = Provider> {
    one_of(&Provider::ALL, Provider::name, Provider::files)
}

/// Parses an element of `all` by its name; `help` is the text about each in the long help.
fn one_of<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
    help: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let values = all.iter().map(|one| PossibleValue::new(name(*one)).help(help(*one)));
    PossibleValuesParser::new(values)
        .try_map(move |typed| all.iter().copied().find(|one| name(*one) == typed).ok_or("there is no such name"))
}
