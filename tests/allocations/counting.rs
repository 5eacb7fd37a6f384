//! An allocator that counts for each thread, so that tests beside each other do not disturb each other.
#![allow(unsafe_code, reason = "an allocator that counts has to be one")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        BYTES.with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `act` gives, and how often this thread allocated meanwhile. Growth counts as an allocation.
pub fn counted<T>(act: impl FnOnce() -> T) -> (T, u32) {
    let before = COUNT.with(Cell::get);
    let out = act();
    (out, COUNT.with(Cell::get) - before)
}

/// What `act` gives, and how many bytes this thread allocated meanwhile, in all: what was freed again counts, too.
pub fn counted_bytes<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = BYTES.with(Cell::get);
    let out = act();
    (out, BYTES.with(Cell::get) - before)
}
