//! `shield`: arguments → role → run.

fn main() {}
