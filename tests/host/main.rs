//! The kernel half on a real kernel: throwaway cgroups and namespaces, a sniffer as leak oracle.
//!
//! Numbers in comments are those of the design's list of cases.

mod backstop;
mod bypass;
mod datagram;
mod deputies;
mod escape;
mod guard;
mod launch;
mod layers;
mod lifecycle;
mod neighbours;
mod networks;
mod prerequisites;
mod prove;
mod redirect;
mod squat;
mod storm;
mod strict;
mod told;
#[cfg(feature = "ebpf-log")]
mod told_in_words;
mod upgrade;

use std::path::Path;

use anyhow::Result;
use shield_tests::world::World;

fn actor() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_actor"))
}

/// A gated world, or `None` where there cannot be one.
fn world() -> Result<Option<World>> {
    World::new(actor())
}
