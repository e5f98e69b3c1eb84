//! Pages of lists: limit and cursor.

use devanture_config::problem::{Code, Problem};

use super::Error;

/// Most entries per page.
pub const PAGE_MAX: usize = 1_000;
/// Longest cursor, in bytes: a fully encoded path is the longest name in a list.
const CURSOR_BYTES_MAX: usize = 200_000;

/// Requested page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Number of entries.
    pub limit: usize,
    /// Cursor from the `next` of the previous page.
    pub after: Option<String>,
    /// Name of the cursor's parameter.
    pub cursor: &'static str,
}

/// Problem of an empty page.
pub(crate) fn none_wanted() -> Error {
    Problem::new(Code::BadRequest, "`limit` must be at least 1.").into()
}

impl Page {
    /// Reads the page from a query, with `limit` entries by default.
    ///
    /// # Errors
    /// `bad_request`.
    pub fn read(
        limit: Option<&str>,
        after: Option<String>,
        cursor: &'static str,
        limit_default: usize,
    ) -> Result<Self, Error> {
        let limit = match limit {
            Some(text) => text.parse::<usize>().map_err(|_reason| {
                let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
                Problem::new(Code::BadRequest, format!("`limit` must be a number, not `{shown}`."))
            })?,
            None => limit_default,
        };
        if limit == 0 {
            return Err(none_wanted());
        }
        let page = Self { limit: limit.min(PAGE_MAX), after, cursor };
        match &page.after {
            Some(after) if after.is_empty() || after.len() > CURSOR_BYTES_MAX => Err(page.bad_cursor()),
            _ => Ok(page),
        }
    }

    /// Problem of an invalid cursor.
    #[must_use]
    pub fn bad_cursor(&self) -> Error {
        let detail = format!("`{}` is not what a page gave as `next`.", self.cursor);
        Problem::new(Code::BadRequest, detail).hint("leave it out for the first page").into()
    }

    /// Returns the cursor of the next page, if one more entry than requested was found.
    pub(crate) fn next<T>(&self, found: &[T], name: impl Fn(&T) -> String) -> Option<String> {
        let is_more = found.len() > self.limit;
        found.get(self.limit.wrapping_sub(1)).filter(|_| is_more).map(name)
    }

    /// Returns a page of a complete, ordered list, and the cursor of the next.
    pub(crate) fn of<T>(&self, mut all: Vec<T>, name: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        if let Some(after) = &self.after {
            all.retain(|entry| name(entry) > *after);
        }
        let next = self.next(&all, name);
        all.truncate(self.limit);
        (all, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_page_is_refused() {
        for (limit, after) in [(Some("x"), None), (Some("-1"), None), (Some(""), None), (None, Some(String::new()))] {
            assert_eq!(Page::read(limit, after, "after", 5).unwrap_err().0.code, Code::BadRequest);
        }
        assert!(Page::read(Some("0"), None, "after", 5).is_err());
        assert_eq!(Page::read(Some("9999999"), None, "after", 5).unwrap().limit, PAGE_MAX);
        assert_eq!(Page::read(None, None, "after", 5).unwrap().limit, 5);
    }

    proptest! {
        #[test]
        fn pages_together_are_the_list(names in proptest::collection::btree_set("[a-z]{1,6}", 0..40), limit in 1_usize..10) {
            let all: Vec<String> = names.into_iter().collect();
            let (mut read, mut after) = (Vec::new(), None);
            loop {
                let page = Page { limit, after: after.clone(), cursor: "after" };
                let (entries, next) = page.of(all.clone(), Clone::clone);
                prop_assert!(entries.len() <= limit && (next.is_none() || entries.len() == limit));
                read.extend(entries);
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            prop_assert_eq!(read, all);
        }
    }
}
