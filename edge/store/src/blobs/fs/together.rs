//! Opens small variants of a blob as one file, the index with these variants: for very many files served from the disk,
//! the state of open files takes more memory than all other state.

use std::os::unix::fs::FileExt;

use devanture_config::Digest;

use super::folder::{Checked, Folder};
use super::handles::FileId;
use super::tree::{GROUP_BYTES, OpenedTree, Tree};
use crate::blobs::{Error, Form};
use devanture_base::durable::{Stamp, failed};

impl Folder {
    /// Opens the variants in the index of their blob, given by hashes, and returns the offset of each in the opened
    /// range. `None` if a variant has a separate file, has a different hash, or is damaged.
    pub(super) fn open_together(
        &self,
        blob: Digest,
        sought: &[(Form, Digest)],
    ) -> Result<Option<(Checked, Vec<u64>)>, Error> {
        let Some((form, _)) = sought.first() else { return Ok(None) };
        let path = self.index_path(blob);
        let (file, stamp, lines) = {
            let _turn = self.lock(blob);
            let Some((file, lines)) = self.open_index(blob)? else { return Ok(None) };
            let stamp = Stamp::of(&file.metadata().map_err(failed("reading", &path))?);
            (file, stamp, lines)
        };
        let found = sought.iter().map(|(form, hash)| {
            let line = lines.get(form).filter(|line| line.info.hash == *hash)?;
            Some((line.at?, line.info.size, *hash))
        });
        let Some(found) = found.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let at = found.iter().map(|(at, ..)| *at).min().unwrap_or_default();
        let from = u64::from(at);
        let end = found.iter().map(|(at, size, _)| u64::from(*at).saturating_add(*size)).max().unwrap_or_default();
        // Each variant has at most `HERE_BYTES_MAX`.
        let Some(size) = usize::try_from(end.saturating_sub(from)).ok().filter(|size| *size <= GROUP_BYTES) else {
            return Ok(None);
        };
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, from).map_err(failed("reading", &path))?;
        let is_whole = |(begin, size, hash): &(u32, u64, Digest)| {
            let begin = usize::try_from(begin.saturating_sub(at)).ok()?;
            let own = bytes.get(begin..begin.checked_add(usize::try_from(*size).ok()?)?)?;
            Some(Digest::of(own) == *hash)
        };
        if !found.iter().all(|one| is_whole(one) == Some(true)) {
            return Ok(None);
        }
        let tree = OpenedTree::from(Tree::of_one_group(Digest::of(&bytes)));
        let begins = found.iter().map(|(begin, ..)| begin.saturating_sub(at).into()).collect();
        let handle = self.handles.of(FileId::Index(blob), &path, file, stamp);
        // A damaged variant takes the others along, as all of them are in one file.
        Ok(Some((Checked { handle, tree, size: end.saturating_sub(from), at, form: Some(*form) }, begins)))
    }
}
