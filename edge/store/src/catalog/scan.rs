//! Reads the records below a prefix, one after the other, in pages.

use std::vec;

use super::{Catalog, Error, Record};

/// Records of a page, by default.
const PAGE: usize = 1_000;

/// A walk over the records with a key prefix, in the byte order of the keys.
///
/// Only one page is in memory at a time. Writes and deletions behind the walk do not move it.
pub struct Scan<'a> {
    catalog: &'a dyn Catalog,
    prefix: String,
    newest_first: bool,
    page_len: usize,
    /// The last key of the previous page.
    after: Option<String>,
    has_more: bool,
    /// Number of records that may still be read.
    left: usize,
    page: vec::IntoIter<(String, Record)>,
}

impl<'a> Scan<'a> {
    /// A walk from the first key to the last.
    pub fn new(catalog: &'a dyn Catalog, prefix: impl Into<String>) -> Self {
        let (after, page) = (None, Vec::new().into_iter());
        Self {
            catalog,
            prefix: prefix.into(),
            newest_first: false,
            page_len: PAGE,
            after,
            has_more: true,
            left: usize::MAX,
            page,
        }
    }

    /// Walks from the last key to the first.
    pub(crate) fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// Begins behind the key `after`.
    pub fn after(mut self, after: Option<String>) -> Self {
        self.after = after;
        self
    }

    /// Reads pages of `records` records, at least one.
    pub fn pages_of(mut self, records: usize) -> Self {
        self.page_len = records.max(1);
        self
    }

    /// Ends after `records`.
    pub fn at_most(mut self, records: usize) -> Self {
        self.left = records;
        self
    }

    /// Returns true if the walk ended at the bound of [`Scan::at_most`], with further records perhaps.
    pub(crate) fn was_cut(&self) -> bool {
        self.has_more && self.left == 0
    }

    /// Returns the next record; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn next(&mut self) -> Result<Option<(String, Record)>, Error> {
        if self.page.len() == 0 {
            self.page = self.read().await?.into_iter();
        }
        Ok(self.page.next())
    }

    /// Returns the rest of the current page, else the next page; empty at the end.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn next_page(&mut self) -> Result<Vec<(String, Record)>, Error> {
        match self.page.len() {
            0 => self.read().await,
            _ => Ok(std::mem::take(&mut self.page).collect()),
        }
    }

    async fn read(&mut self) -> Result<Vec<(String, Record)>, Error> {
        let wanted = self.page_len.min(self.left);
        if !self.has_more || wanted == 0 {
            return Ok(Vec::new());
        }
        let page = self.catalog.list(&self.prefix, self.after.as_deref(), self.newest_first, wanted).await?;
        self.has_more = page.len() == wanted;
        self.left = self.left.saturating_sub(page.len());
        if let Some((key, _)) = page.last() {
            self.after = Some(key.clone());
        }
        Ok(page)
    }
}
