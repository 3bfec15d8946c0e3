//! What hooks that were built for it say in words: every verdict, where events are told once a second.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use log::{Log, Metadata, Record};

use crate::world;

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Log for Said {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().expect("nobody panics while holding it").push(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
fn hooks_built_to_say_every_verdict_in_words_say_it_each_time() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let said = Said::default();
    let mut log = world.gate.kernel_log(said.clone())?;
    world.run(r#"for _ in range(3): outcome(lambda: udp().sendto(b"x", ("1.2.3.5", 443)))"#)?;
    log.flush();
    let said = said.0.lock().unwrap().clone();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().all(|line| line.ends_with("protocol 17 to ::ffff:1.2.3.5 port 443")), "{said:?}");
    world.assert_silent()
}
