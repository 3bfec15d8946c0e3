//! Leave for aya to copy our records in and out of maps.

use crate::event::Event;
use crate::guarded::Guarded;
use crate::handoff::Tuple;
use crate::networks::Place;
use crate::original::Original;
use crate::served::Served;

// SAFETY: `repr(C)`, `Copy`, no padding (each type has a size test) and no invalid bit patterns.
unsafe impl aya::Pod for Original {}
// SAFETY: as above.
unsafe impl aya::Pod for Served {}
// SAFETY: as above; `Address` is a transparent array of words.
unsafe impl aya::Pod for Tuple {}
// SAFETY: as above; what it says of reasons and processes is checked where it is read.
unsafe impl aya::Pod for Event {}
// SAFETY: as above.
unsafe impl aya::Pod for Guarded {}
// SAFETY: as above.
unsafe impl aya::Pod for Place {}
