//! The pages of a bundle that say that something is not there, found upwards from a path.
//!
//! They lie in the order of their folders, each with the nearest one above it: a look-up takes time with the length of
//! the path, and not for each of its folders, of which a request may name thousands.

use std::cmp::Ordering;

use devanture_config::heap::{HeapBytes, allocated};

/// No page.
const NONE: u32 = u32::MAX;

/// The pages.
#[derive(Debug, Clone, Default)]
pub(super) struct NotFoundPages(Vec<Page>);

#[derive(Debug, Clone)]
struct Page {
    /// Its folder, without slashes at its ends.
    folder: Box<str>,
    number: u32,
    /// The place of the nearest page above it, or [`NONE`].
    above: u32,
}

impl NotFoundPages {
    /// Adds the page of a folder, in the place of the one that it has. They are found once [`Self::sort`] was called.
    pub(super) fn add(&mut self, folder: &str, number: u32) {
        self.0.push(Page { folder: folder.into(), number, above: NONE });
    }

    /// Brings them into their order.
    pub(super) fn sort(&mut self) {
        let pages = &mut self.0;
        pages.sort_by(|a, b| by_segments(&a.folder, &b.folder));
        // Of a folder the last one counts.
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

    /// Whether there is none at all.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The page that is nearest to a folder upwards, its own first.
    pub(super) fn nearest(&self, folder: &str) -> Option<u32> {
        // The last one that is not behind the folder is its own, or lies below one that is above the folder, if any is.
        let after = self.0.partition_point(|page| by_segments(&page.folder, folder) != Ordering::Greater);
        let mut page = self.0.get(after.checked_sub(1)?)?;
        let same = page.folder.bytes().zip(folder.bytes()).take_while(|(a, b)| a == b).count();
        loop {
            let length = page.folder.len();
            // What is above a page is a beginning of its folder.
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

/// Whether a folder is above another, or the same.
fn holds(folder: &str, other: &str) -> bool {
    folder.is_empty() || other.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The order in which what is in a folder comes right after it; the root, whose name is empty, is before all.
fn by_segments(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte).saturating_add(1) };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}
