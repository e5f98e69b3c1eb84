//! Types that are texts outside: one way for `serde` to read them by `FromStr` and to write them by `Display`.

/// Gives a type with `#[serde(try_from = "String", into = "String")]` what these two ask for.
macro_rules! text_form {
    ($name:ty, $error:ty) => {
        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

pub(crate) use text_form;
