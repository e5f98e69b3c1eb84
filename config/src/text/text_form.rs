//! Types represented as texts outside: `serde` reads by `FromStr` and writes by `Display`.

/// Implements the conversions required by `#[serde(try_from = "String", into = "String")]`.
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
