//! An allocator that counts: how often the measured code asks for memory, and how many bytes are live.
#![allow(unsafe_code, reason = "an allocator that counts has to be one")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

static CALLS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicU64 = AtomicU64::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// A load and a store, not a locked addition: the benches are one thread, and a lock would be measured with them.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches two atomics and nothing else.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(&CALLS, 1);
        add(&LIVE, layout.size() as u64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(&LIVE, (layout.size() as u64).wrapping_neg());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(&CALLS, 1);
        add(&LIVE, (size as u64).wrapping_sub(layout.size() as u64));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// How many allocations there were so far, growth in place included.
pub fn calls() -> u64 {
    CALLS.load(Relaxed)
}

/// How many bytes are allocated now, as they were asked for.
pub fn live() -> u64 {
    LIVE.load(Relaxed)
}
