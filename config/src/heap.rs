//! Heap sizes of values, for memory budgets.
//!
//! The edge limits the memory of loaded versions by app, and an allocator does not know the app behind an allocation.
//! So each type adds up its owned memory; tests compare the sums with the allocator's own count.

use std::collections::HashMap;

/// Rounding of allocation sizes by allocators.
const GRAIN: usize = 16;

/// Value with a known size of its heap allocations.
pub trait HeapBytes {
    /// Returns the bytes of heap memory owned by this value alone. Shared allocations are counted at their origin.
    fn heap_bytes(&self) -> usize;
}

/// Returns the size of an allocation of `bytes`, as rounded by allocators.
#[must_use]
pub const fn allocated(bytes: usize) -> usize {
    bytes.next_multiple_of(GRAIN)
}

/// Returns the size of a hash table's buckets: the number is a power of two, with at most seven in eight in use.
#[must_use]
pub fn table_bytes<K, V>(capacity: usize) -> usize {
    if capacity == 0 {
        return 0;
    }
    let buckets = (capacity.saturating_mul(8) / 7).next_power_of_two().max(4);
    allocated(buckets.saturating_mul(size_of::<(K, V)>() + 1) + GRAIN)
}

impl HeapBytes for String {
    fn heap_bytes(&self) -> usize {
        allocated(self.capacity())
    }
}

impl HeapBytes for Box<str> {
    fn heap_bytes(&self) -> usize {
        allocated(self.len())
    }
}

impl<T: HeapBytes> HeapBytes for Box<T> {
    fn heap_bytes(&self) -> usize {
        allocated(size_of::<T>()) + T::heap_bytes(self)
    }
}

impl<T: HeapBytes> HeapBytes for Box<[T]> {
    fn heap_bytes(&self) -> usize {
        allocated(size_of_val::<[T]>(self)) + self.iter().map(HeapBytes::heap_bytes).sum::<usize>()
    }
}

impl<T: HeapBytes> HeapBytes for Vec<T> {
    fn heap_bytes(&self) -> usize {
        allocated(self.capacity() * size_of::<T>()) + self.iter().map(HeapBytes::heap_bytes).sum::<usize>()
    }
}

impl<T: HeapBytes> HeapBytes for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, HeapBytes::heap_bytes)
    }
}

impl<K: HeapBytes, V: HeapBytes, S> HeapBytes for HashMap<K, V, S> {
    fn heap_bytes(&self) -> usize {
        let owned = self.iter().map(|(key, value)| key.heap_bytes() + value.heap_bytes()).sum::<usize>();
        table_bytes::<K, V>(self.capacity()) + owned
    }
}

impl HeapBytes for u32 {
    fn heap_bytes(&self) -> usize {
        0
    }
}
