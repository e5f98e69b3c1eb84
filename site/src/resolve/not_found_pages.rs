//! The 404 pages of a bundle, found upwards from a path.
//!
//! The pages are sorted by folder, each with a link to the nearest page above: a lookup takes time by the length of the
//! path, not by the number of its folders, which may be thousands in one request.

use std::cmp::Ordering;

use devanture_config::heap::{HeapBytes, allocated};

/// No page.
const NONE: u32 = u32::MAX;

/// The pages.
#[derive(Debug, Clone, Default)]
pub(super) struct NotFoundPages(Vec<Page>);

#[derive(Debug, Clone)]
struct Page {
    /// The folder, without slashes at its ends.
    folder: Box<str>,
    number: u32,
    /// The index of the nearest page above, or [`NONE`].
    above: u32,
}

impl NotFoundPages {
    /// Adds the page of a folder, replacing the folder's present page. Call [`Self::sort`] before lookups.
    pub(super) fn add(&mut self, folder: &str, number: u32) {
        self.0.push(Page { folder: folder.into(), number, above: NONE });
    }

    /// Sorts the pages.
    pub(super) fn sort(&mut self) {
        let pages = &mut self.0;
        pages.sort_by(|a, b| by_segments(&a.folder, &b.folder));
        // The last page of a folder counts.
        pages.dedup_by(|later, earlier| {
            let is_same = later.folder == earlier.folder;
            if is_same {
                earlier.number = later.number;
            }
            is_same
        });
        pages.shrink_to_fit();
        let mut open: Vec<usize> = Vec::new();
        for place in 0..pages.len() {
            let folder = pages.get(place).map(|page| page.folder.clone()).unwrap_or_default();
            while open.last().and_then(|above| pages.get(*above)).is_some_and(|above| !holds(&above.folder, &folder)) {
                open.pop();
            }
            let above = open.last().and_then(|above| u32::try_from(*above).ok()).unwrap_or(NONE);
            if let Some(page) = pages.get_mut(place) {
                page.above = above;
            }
            open.push(place);
        }
    }

    /// Returns true without any page.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The nearest page of a folder, upwards from its own.
    pub(super) fn nearest(&self, folder: &str) -> Option<u32> {
        // The last page at or before the folder is the folder's own, or lies below the nearest page above the folder,
        // if any.
        let after = self.0.partition_point(|page| by_segments(&page.folder, folder) != Ordering::Greater);
        let mut page = self.0.get(after.checked_sub(1)?)?;
        let same = page.folder.bytes().zip(folder.bytes()).take_while(|(a, b)| a == b).count();
        loop {
            let length = page.folder.len();
            // A folder above a page is a prefix of the page's folder.
            if length <= same && (length == 0 || matches!(folder.as_bytes().get(length), None | Some(b'/'))) {
                return Some(page.number);
            }
            page = self.0.get(usize::try_from(page.above).ok()?)?;
        }
    }
}

impl HeapBytes for NotFoundPages {
    fn heap_bytes(&self) -> usize {
        let folders = self.0.iter().map(|page| page.folder.heap_bytes());
        folders.fold(allocated(self.0.capacity().saturating_mul(size_of::<Page>())), usize::saturating_add)
    }
}

/// Returns true if a folder is above another, or equal.
fn holds(folder: &str, other: &str) -> bool {
    folder.is_empty() || other.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The order in which the content of a folder directly follows the folder; the root, with an empty name, is first.
fn by_segments(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte).saturating_add(1) };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}
