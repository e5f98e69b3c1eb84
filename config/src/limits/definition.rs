//! The macro that makes the type, the defaults and the table of the limits of one list.

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

        /// One row of the table of limits.
        #[derive(Debug, Clone, Copy)]
        pub struct Limit {
            /// The key.
            pub name: &'static str,
            /// The default value.
            pub default: u64,
            /// The least and the greatest value that are taken.
            pub range: (u64, u64),
            /// What it limits, as a sentence.
            pub meaning: &'static str,
        }

        /// The table of limits, in the order of the documentation.
        pub const TABLE: &[Limit] = &[
            $(Limit { name: stringify!($name), default: $default, range: ($min, $max), meaning: concat!($($doc),+) },)+
        ];

        impl Limits {
            /// The value of the limit named `name`.
            #[must_use]
            pub fn value(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name),)+
                    _ => None,
                }
            }

            /// The limit named `name`, to be set.
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
