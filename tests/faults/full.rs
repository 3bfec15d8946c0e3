//! A disk without room: nothing leaves unrecorded, nothing is lost, and it goes on by itself when there is room again.

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use shield_agent::approval::view::HoldState;
use shield_tests::client::Told;
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::wait;

use crate::resident::Resident;

#[test]
fn traffic_stops_while_the_disk_is_full_and_goes_on_by_itself() -> Result<()> {
    let settings = Settings { state_size: Some("8m"), hold_wait: "1s".into(), ..Settings::default() };
    let deployment = Deployment::start(settings)?;
    let mut bench = Bench { deployment: &deployment, agent: Resident::start(&deployment)? };
    bench.run().with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

struct Bench<'a> {
    deployment: &'a Deployment,
    agent: Resident,
}

impl Bench<'_> {
    fn run(&mut self) -> Result<()> {
        ensure!(self.ask("GET", "/before")?.status == 200, "a read does not pass at first");
        ensure!(self.ask("DELETE", "/held")?.status == 503, "a delete was not held");
        let hold = self.deployment.pending("resident")?;

        let ballast = self.fill()?;
        let refused = wait::until("reads to be refused", || {
            self.ask("GET", "/full").ok().filter(|told| told.status == 503)
        })?;
        ensure!(refused.body.contains("free some room"), "the agent is told {refused:?}");
        let arrived = self.receipts("GET", "/full");
        for _ in 0..5 {
            ensure!(self.ask("GET", "/full")?.status == 503, "a read passed unrecorded");
        }
        ensure!(self.receipts("GET", "/full") == arrived, "a request left unrecorded");
        let told = self.ask("DELETE", "/not-held")?;
        ensure!(told.status == 503 && told.body.contains("free some room"), "the agent is told {told:?}");
        ensure!(self.deployment.decide("approve", &hold, "").is_err(), "a decision was taken unrecorded");
        ensure!(self.receipts("DELETE", "/held") == 0, "an unrecorded decision was carried out");

        std::fs::remove_file(ballast)?;
        wait::until("reads to pass again", || {
            self.ask("GET", "/after").ok().filter(|told| told.status == 200)
        })?;
        let now = self.deployment.pending("resident")?;
        ensure!((now.id, now.state) == (hold.id, HoldState::Pending), "the hold became {now:?}");
        self.deployment.decide("approve", &now, "")?;
        wait::until("the approved delete to arrive", || {
            (self.receipts("DELETE", "/held") == 1).then_some(())
        })?;
        ensure!(self.deployment.holds()?.len() == 1, "what was not held is listed");
        output(&mut self.deployment.shield(&["journal", "verify"])).map(|_| ())
    }

    /// Leaves no room on the daemon's disk.
    fn fill(&self) -> Result<std::path::PathBuf> {
        let path = self.deployment.dir().join("state/ballast");
        let mut file = std::fs::File::create(&path)?;
        // Until there is no room even for one byte more.
        for size in [64 << 10, 1 << 10, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        Ok(path)
    }

    fn ask(&mut self, method: &str, path: &str) -> Result<Told> {
        self.agent.ask(method, "crm.acme.internal", path)
    }

    fn receipts(&self, method: &str, path: &str) -> usize {
        self.deployment.origin.ledger.of(method, path).len()
    }
}
