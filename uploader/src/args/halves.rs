//! Flags that choose one half of a bundle: the front or the backend.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use devanture_config::IdPrefix;
use devanture_config::manifest::halves::Half;

/// The flag of commands that read one half alone.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct OnlyArgs {
    /// Read one half alone; the folder of the other need not exist
    #[arg(long, value_name = "HALF", value_parser = half())]
    pub(crate) only: Option<Half>,
}

/// The flags of `push`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HalfArgs {
    /// Push one half alone; the version's other half is that of the live version
    #[arg(long, value_name = "HALF", value_parser = half())]
    pub(crate) only: Option<Half>,
    /// Take the other half from this version
    #[arg(long, value_name = "ID", requires = "only")]
    pub(crate) with: Option<IdPrefix>,
}

fn half() -> impl TypedValueParser<Value = Half> {
    PossibleValuesParser::new(["front", "backend"]).try_map(|word| word.parse::<Half>())
}
