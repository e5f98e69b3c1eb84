//! Macro for the type, the defaults and the table of a list of limits.

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:literal in $min:literal ..= $max:literal,)+) => {
        /// The limits, each a key of `[limits]` in `edge.toml`.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Other values for single apps: `[limits.apps.NAME]`.
            pub apps: AppLimits,
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ apps: AppLimits::default() }
            }
        }

        /// Row of the table of limits.
        #[derive(Debug, Clone, Copy)]
        pub struct Limit {
            /// The key.
            pub name: &'static str,
            /// The default value.
            pub default: u64,
            /// Smallest and greatest valid value.
            pub range: (u64, u64),
            /// Meaning, as a sentence.
            pub meaning: &'static str,
        }

        /// The table of limits, in the order of the documentation.
        pub const TABLE: &[Limit] = &[
            $(Limit { name: stringify!($name), default: $default, range: ($min, $max), meaning: concat!($($doc),+) },)+
        ];

        impl Limits {
            /// Returns the value of the limit named `name`.
            #[must_use]
            pub fn value(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name),)+
                    _ => None,
                }
            }

            /// Returns the limit named `name` for changes.
            pub fn by_name(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)+
                    _ => None,
                }
            }
        }
    };
}

pub(super) use limits;
