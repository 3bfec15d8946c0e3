//! What every test begins with: a deployment, a browser beside it, agents that ask, and a reviewer who has logged in.

use anyhow::{Context as _, Result, ensure};
use shield_tests::client::{Errand, Running, curl};
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::origin::Receipt;

use crate::browser::{Browser, Screen, Tab};

pub(crate) const BODY: &str = r#"{"cascade":true,"reason":"account closed"}"#;
/// The buttons of a hold's page.
pub(crate) const APPROVE: &str = "role=button[name=/^approve once/i]";
pub(crate) const DENY: &str = "role=button[name=/^deny/i]";
/// Where a hold's page says how it stands.
pub(crate) const STATE: &str = "#state";

pub(crate) struct Scene {
    // Dropped first: its files are the deployment's.
    pub(crate) browser: Browser,
    pub(crate) deployment: Deployment,
}

/// Plays a test in a scene of its own; a failure tells what the daemon said.
pub(crate) fn play(test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let scene = Scene { browser: Browser::start(&deployment)?, deployment };
    let outcome = test(&scene);
    outcome.with_context(|| format!("the daemon said:\n{}", scene.deployment.daemon.log()))
}

impl Scene {
    /// A link that logs in once.
    pub(crate) fn link(&self) -> Result<String> {
        let told = output(&mut self.deployment.shield(&["login"]))?;
        let text = String::from_utf8(told.stdout)?;
        let link = text.split_whitespace().find(|word| word.starts_with("http"));
        link.map(str::to_owned).with_context(|| format!("no link in {text}"))
    }

    /// The console's address.
    pub(crate) fn console(&self) -> Result<String> {
        let link = self.link()?;
        let end = link.find("/login").context("a link leads to /login")?;
        Ok(link[..end].to_owned())
    }

    /// A tab of a reviewer who has just logged in with such a screen: it shows the queue.
    pub(crate) fn logged_in(&self, screen: Screen) -> Result<Tab<'_>> {
        let tab = self.browser.visitor(screen)?.tab()?;
        ensure!(log_in(&tab, &self.link()?)? == 303, "not logged in: {}", tab.text("main")?);
        Ok(tab)
    }

    /// Starts curl as the gated agent `agent`, on an errand to the service.
    pub(crate) fn asks(&self, agent: &str, method: &'static str, path: &str, body: &str) -> Result<Running> {
        self.asks_with(agent, method, path, body, &[])
    }

    /// Starts curl with more arguments.
    pub(crate) fn asks_with(
        &self,
        agent: &str,
        method: &'static str,
        path: &str,
        body: &str,
        more: &[&str],
    ) -> Result<Running> {
        let errand = Errand { method, url: format!("https://crm.acme.internal{path}"), body: body.into() };
        let mut words = curl("--http1.1", &errand);
        words.extend(more.iter().map(|word| (*word).to_owned()));
        Running::start(&mut self.deployment.agent(agent, &words))
    }

    /// Opens the page of the hold that `agent` waits for.
    pub(crate) fn open_hold_of(&self, tab: &Tab<'_>, agent: &str) -> Result<()> {
        let hold = self.deployment.pending(agent)?;
        let status = tab.open(&format!("{}/h/{}", self.console()?, hold.id))?;
        ensure!(status == 200, "the hold's page answers {status}");
        Ok(())
    }

    /// What arrived at the service.
    pub(crate) fn receipts(&self, method: &str, path: &str) -> Vec<Receipt> {
        self.deployment.origin.ledger.of(method, path)
    }

    /// Fails unless the service received this exactly once, with these bytes.
    pub(crate) fn expect_sent_once(&self, method: &str, path: &str, body: &str) -> Result<()> {
        let receipts = self.receipts(method, path);
        ensure!(receipts.len() == 1, "{method} {path} arrived {} times", receipts.len());
        ensure!(receipts[0].body.as_deref() == Some(body.as_bytes()), "arrived as {:?}", receipts[0].body);
        Ok(())
    }

    /// Fails if the service received this.
    pub(crate) fn expect_never_sent(&self, method: &str, path: &str) -> Result<()> {
        let times = self.receipts(method, path).len();
        ensure!(times == 0, "{method} {path} arrived {times} times");
        Ok(())
    }
}

/// Follows a link and gives a name; the status of the answer to that.
pub(crate) fn log_in(tab: &Tab<'_>, link: &str) -> Result<u16> {
    tab.open(link)?;
    tab.write("role=textbox[name='Your name']", "Ada Lovelace")?;
    tab.submit("role=button[name='Log in']")
}
