//! SIGKILL of every role in every state of a hold, again and again.

use anyhow::{Context as _, Result, bail, ensure};
use shield_agent::approval::view::{HoldState, HoldView};
use shield_tests::client::{Client, Clients, Errand, Running};
use shield_tests::deployment::{Deployment, Role, Settings, output};
use shield_tests::origin::PATIENT_PATH;
use shield_tests::wait;

/// Rounds of four kills for each state: 4 × 13 × 4 = 208 kills.
const ROUNDS: usize = 13;
/// The supervisor comes last: a new one starts roles without the delays an old one puts between deaths.
const ORDER: [Role; 4] = [Role::Worker, Role::Approver, Role::Signer, Role::Supervisor];
const BODY: &str = r#"{"cascade":true}"#;

/// Where a hold is when the role dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Nobody has decided.
    Pending,
    /// The approval has just been acknowledged.
    Approved,
    /// The origin has the request and has not answered.
    Sending,
    /// The agent has its answer.
    Done,
}

#[test]
fn a_pending_hold_survives_and_is_sent_once_when_approved_later() -> Result<()> {
    kill_again_and_again(Moment::Pending)
}

#[test]
fn an_approved_hold_is_sent_once_or_says_that_it_is_not_known() -> Result<()> {
    kill_again_and_again(Moment::Approved)
}

#[test]
fn a_hold_being_sent_is_never_sent_again() -> Result<()> {
    kill_again_and_again(Moment::Sending)
}

#[test]
fn a_finished_hold_stays_finished() -> Result<()> {
    kill_again_and_again(Moment::Done)
}

fn kill_again_and_again(moment: Moment) -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let clients = Clients::install(&deployment)?;
    let mut bench = Bench { deployment, clients, moment };
    let mut holds = Vec::new();
    for round in 0..ROUNDS {
        for role in ORDER {
            let path = format!("{PATIENT_PATH}{round}-{role:?}");
            let hold = bench.kill(role, &path);
            let said =
                || format!("round {round}, {role:?}; the daemon said:\n{}", bench.deployment.daemon.log());
            holds.push((path, hold.with_context(said)?));
        }
    }
    bench.check_all(&holds)
}

struct Bench {
    deployment: Deployment,
    clients: Clients,
    moment: Moment,
}

impl Bench {
    /// One hold, one kill at its moment, recovery, and the hold's right end.
    fn kill(&mut self, role: Role, path: &str) -> Result<HoldView> {
        let running = self.start(path)?;
        let hold = self.deployment.pending("agent")?;
        let running = self.reach_moment(running, &hold, path)?;
        self.deployment.daemon.kill(role)?;
        self.recover(role)?;
        self.deployment.origin.resume();
        if let Some(running) = running {
            // Its connection died with the worker; what it was told is not the point.
            drop(running.told());
        }
        if self.moment == Moment::Pending {
            let now = self.find(&hold)?;
            ensure!(now.state == HoldState::Pending, "a pending hold became {:?}", now.state);
            self.deployment.decide("approve", &now, "")?;
        }
        self.finished(&hold, path)
    }

    fn start(&self, path: &str) -> Result<Running> {
        let url = format!("https://crm.acme.internal{path}");
        let errand = Errand { method: "DELETE", url, body: BODY.into() };
        self.clients.start(&self.deployment, "agent", Client::CurlH1, &errand)
    }

    fn reach_moment(&self, running: Running, hold: &HoldView, path: &str) -> Result<Option<Running>> {
        match self.moment {
            Moment::Pending => {}
            Moment::Approved => self.deployment.decide("approve", hold, "")?,
            Moment::Sending => {
                self.deployment.origin.pause();
                self.deployment.decide("approve", hold, "")?;
                wait::until("the request to arrive", || (self.receipts(path) == 1).then_some(()))?;
            }
            Moment::Done => {
                self.deployment.decide("approve", hold, "")?;
                let told = running.told()?;
                ensure!(told.status == 200, "told {told:?}");
                return Ok(None);
            }
        }
        Ok(Some(running))
    }

    /// Waits until agents can be started and holds be listed again.
    fn recover(&mut self, role: Role) -> Result<()> {
        if role == Role::Supervisor {
            self.deployment.restart()?;
        }
        wait::until("the daemon to serve agents again", || {
            self.deployment.holds().ok()?;
            let mut agent = self.deployment.agent("returned", &["true"]);
            agent.output().ok()?.status.success().then_some(())
        })
    }

    /// Waits until nothing more can happen to the hold, and checks that this is a right end.
    fn finished(&self, hold: &HoldView, path: &str) -> Result<HoldView> {
        let end = wait::until("the hold to end", || {
            let now = self.find(hold).ok()?;
            let open = matches!(now.state, HoldState::Pending | HoldState::Approved | HoldState::Sending);
            (!open).then_some(now)
        })?;
        let receipts = self.receipts(path);
        match (self.moment, end.state) {
            (Moment::Pending | Moment::Done, HoldState::Done) if receipts == 1 => Ok(end),
            (Moment::Approved | Moment::Sending, HoldState::Done) if receipts == 1 => Ok(end),
            (Moment::Approved, HoldState::OutcomeUnknown) if receipts <= 1 => Ok(end),
            (Moment::Approved, HoldState::Refused) if receipts == 0 => Ok(end),
            (Moment::Sending, HoldState::OutcomeUnknown) if receipts == 1 => Ok(end),
            (moment, state) => bail!("killed when {moment:?}, ended as {state:?} with {receipts} receipts"),
        }
    }

    /// After everything: nothing came a second time, no hold is missing or changed, the journal is whole.
    fn check_all(&self, holds: &[(String, HoldView)]) -> Result<()> {
        for (path, hold) in holds {
            let receipts = self.deployment.origin.ledger.of("DELETE", path);
            ensure!(receipts.len() <= 1, "{path} arrived {} times", receipts.len());
            // Cut off on its way, it is half a request, and the hold says that nobody can know.
            let cut_off = hold.state == HoldState::OutcomeUnknown;
            let equal = receipts.iter().all(|receipt| match &receipt.body {
                Some(body) => body == BODY.as_bytes(),
                None => cut_off,
            });
            ensure!(equal, "{path} arrived as {receipts:?}");
            let now = self.find(hold)?;
            ensure!(now.state == hold.state, "{path} was {:?} and is {:?}", hold.state, now.state);
        }
        output(&mut self.deployment.shield(&["journal", "verify"])).map(|_| ())
    }

    fn find(&self, hold: &HoldView) -> Result<HoldView> {
        let holds = self.deployment.holds()?;
        holds.into_iter().find(|other| other.id == hold.id).context("an acknowledged hold is lost")
    }

    fn receipts(&self, path: &str) -> usize {
        self.deployment.origin.ledger.of("DELETE", path).len()
    }
}
