//! JSON without duplicate members. RFC 8259 §4 leaves the choice between duplicates open, so two readers of one text
//! can see different values; derived readers of maps silently take the last.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Maximum number of characters of a name in a message.
const SHOWN_MAX: usize = 200;

/// Checks JSON already parsed as some type.
///
/// # Errors
/// The first duplicate member of an object, with its position; as a mistake of the data, not of the syntax.
pub fn check(json: &[u8]) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    Value.deserialize(&mut reader)
}

/// Makes the error for a duplicate name.
pub(crate) fn twice<E: Error>(name: &str) -> E {
    let shown: String = name.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    E::custom(format_args!("`{shown}` is named twice"))
}

/// Name; allocates only for escapes.
#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Name<'j>(#[serde(borrow)] Cow<'j, str>);

/// Any value; only the names of the open objects are stored.
struct Value;

impl<'j> DeserializeSeed<'j> for Value {
    type Value = ();

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'j> Visitor<'j> for Value {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut object: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = object.next_key::<Name<'j>>()? {
            if let Some(name) = names.replace(name) {
                return Err(twice(&name.0));
            }
            object.next_value_seed(Self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_in_one_object_is_found_at_any_depth() {
        for (json, name) in [
            ("{\"a\":1,\"a\":1}", "a"),
            ("{\"a\":[1.5,null,{\"b\":{\"c\":true,\"d\":-1,\"c\":\"\"}}]}", "c"),
            ("[{},{\"caf\u{e9}\":1,\"caf\\u00e9\":2}]", "caf\u{e9}"),
            ("{\"\":1,\"\":2}", ""),
        ] {
            let error = check(json.as_bytes()).unwrap_err();
            assert!(error.is_data() && error.to_string().starts_with(&format!("`{name}` is named twice")), "{error}");
        }
        let long = format!("{{\"{0}\":1,\"{0}\":2}}", "\\u009b".repeat(1_000));
        assert!(check(long.as_bytes()).unwrap_err().to_string().len() < 10 * SHOWN_MAX);
    }

    #[test]
    fn one_name_in_several_objects_is_fine() {
        for json in ["{\"a\":{\"a\":[{\"a\":1},{\"a\":2}]},\"b\":{\"a\":3},\"A\":0}", "[]", "\"a\"", "1e3", "null"] {
            check(json.as_bytes()).unwrap();
        }
    }
}
