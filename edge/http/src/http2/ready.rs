//! Answers that wait to be put whole: no streams are made for them.

use std::collections::VecDeque;
use std::collections::vec_deque::{Iter, IterMut};

use http::StatusCode;

use super::super::answer::{Answer, AnswerBody};

/// An answer that waits.
pub(super) struct Ready<O> {
    pub(super) id: u32,
    /// By how much the peer has opened the stream's window since: it counts if a stream is made of this after all.
    pub(super) opened: i64,
    pub(super) content: Content<O>,
}

/// The output.
pub(super) enum Content<O> {
    /// The service's answer, whose body is empty or at hand, and fits a frame and the windows.
    Answer(Answer<O>),
    /// A status of our own, without a body.
    Status(StatusCode),
}

/// Answers that wait, in their order.
pub(super) struct ReadyQueue<O> {
    list: VecDeque<Ready<O>>,
    /// The recent peak of the queue.
    usual: usize,
}

impl<O> ReadyQueue<O> {
    pub(super) const fn new() -> Self {
        Self { list: VecDeque::new(), usual: 0 }
    }

    /// Adds one.
    #[inline]
    pub(super) fn push(&mut self, ready: Ready<O>) {
        if self.list.capacity() == 0 {
            self.list.reserve(self.usual);
        }
        self.list.push_back(ready);
    }

    /// Takes note of how many there are, which may be as many the next time.
    pub(super) fn note_usual(&mut self) {
        self.usual = self.list.len();
    }

    /// Drops the first ones in place.
    pub(super) fn drop_first(&mut self, count: usize) {
        self.list.drain(..count);
    }

    /// Takes out the one of this stream.
    pub(super) fn remove(&mut self, id: u32) -> Option<Ready<O>> {
        let index = self.list.iter().position(|ready| ready.id == id)?;
        self.list.remove(index)
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> VecDeque<Ready<O>> {
        std::mem::take(&mut self.list)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn iter(&self) -> Iter<'_, Ready<O>> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> IterMut<'_, Ready<O>> {
        self.list.iter_mut()
    }

    /// Frees its memory, where nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.list.is_empty() && self.list.capacity() > 0 {
            self.list = VecDeque::new();
        }
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.list.capacity() * size_of::<Ready<O>>()
    }
}

impl<O> Ready<O> {
    /// Bytes of it that count in windows.
    pub(super) fn bytes(&self) -> usize {
        match &self.content {
            Content::Answer(Answer { body: AnswerBody::Bytes(body), .. }) => body.len(),
            Content::Answer(_) | Content::Status(_) => 0,
        }
    }
}
