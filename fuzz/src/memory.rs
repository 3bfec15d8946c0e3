//! Memory that is counted, so that a target can say how much a few bytes may cost.
//!
//! It changes nothing about where memory comes from.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// What this thread has now, and the most it had since the last [`peak_of`].
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

#[global_allocator]
static COUNTED: Counted = Counted;

struct Counted;

fn count(change: isize) {
    // A thread that is being taken down is not measured.
    let _ = HELD.try_with(|held| {
        let (now, peak) = held.get();
        held.set((now + change, peak.max(now + change)));
    });
}

// SAFETY: every call is passed on to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are the system allocator's demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above, and the pointer came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs something; returns by how many bytes the memory of this thread grew at most meanwhile.
pub fn peak_of<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let result = run();
    let peak = HELD.with(|held| held.get().1);
    (result, usize::try_from(peak - before).unwrap_or_default())
}
