//! A real Chromium inside a deployment's namespace, driven through `driver.mjs` by one JSON line for each act.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shield_tests::deployment::Deployment;
use shield_tests::wait;

/// A browser, closed when dropped.
pub(crate) struct Browser {
    driver: Child,
    lines: RefCell<Lines>,
}

struct Lines {
    acts: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    numbered: u32,
}

/// What a visitor looks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Screen {
    /// 360×740 with touch; else 1280×800 with a mouse.
    pub(crate) phone: bool,
    /// Whether pages may run scripts.
    pub(crate) scripts: bool,
    /// Whether the person prefers dark pages.
    pub(crate) dark: bool,
}

/// A reviewer's phone.
pub(crate) const PHONE: Screen = Screen { phone: true, scripts: true, dark: false };

/// Somebody with cookies of their own.
pub(crate) struct Visitor<'a> {
    browser: &'a Browser,
    number: u32,
}

/// A tab of a visitor. Places on its page are written as Playwright selectors.
pub(crate) struct Tab<'a> {
    browser: &'a Browser,
    number: u32,
}

impl Browser {
    /// Starts a browser where the deployment's console can be reached; its files are the deployment's.
    pub(crate) fn start(deployment: &Deployment) -> Result<Self> {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("console/driver.mjs");
        let mut node = deployment.place.command("node");
        node.arg(driver).env("HOME", deployment.dir()).env("TMPDIR", deployment.dir());
        node.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut driver = node.spawn().context("cannot start node")?;
        let acts = driver.stdin.take();
        let answers = BufReader::new(driver.stdout.take().context("stdout is piped")?);
        Ok(Self { driver, lines: RefCell::new(Lines { acts, answers, numbered: 0 }) })
    }

    /// Somebody new.
    pub(crate) fn visitor(&self, screen: Screen) -> Result<Visitor<'_>> {
        let number = self.next_number();
        let Screen { phone, scripts, dark } = screen;
        self.ask(
            &json!({"act": "visit", "visitor": number, "phone": phone, "scripts": scripts, "dark": dark}),
        )
        .map(|()| Visitor { browser: self, number })
    }

    fn next_number(&self) -> u32 {
        let mut lines = self.lines.borrow_mut();
        lines.numbered += 1;
        lines.numbered
    }

    fn ask<T: DeserializeOwned>(&self, act: &Value) -> Result<T> {
        let mut lines = self.lines.borrow_mut();
        let acts = lines.acts.as_mut().context("the driver is closed")?;
        writeln!(acts, "{act}").context("the driver died")?;
        let mut answer = String::new();
        lines.answers.read_line(&mut answer).context("the driver died")?;
        let mut answer: Value =
            serde_json::from_str(&answer).with_context(|| format!("to {act}: {answer}"))?;
        if let Some(error) = answer.get("error") {
            bail!("{act}: {}", error.as_str().unwrap_or_default());
        }
        serde_json::from_value(answer["ok"].take()).with_context(|| format!("unexpected answer to {act}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver closes the browser at the end of its input.
        self.lines.borrow_mut().acts = None;
        if wait::within(wait::PATIENCE, || self.driver.try_wait().ok().flatten()).is_none() {
            let _ = self.driver.kill();
            let _ = self.driver.wait();
        }
    }
}

impl<'a> Visitor<'a> {
    /// An empty tab.
    pub(crate) fn tab(&self) -> Result<Tab<'a>> {
        let number = self.browser.next_number();
        self.browser
            .ask::<()>(&json!({"act": "tab", "visitor": self.number, "tab": number}))
            .map(|()| Tab { browser: self.browser, number })
    }
}

impl Tab<'_> {
    /// Opens an address; gives the answer's status.
    pub(crate) fn open(&self, address: &str) -> Result<u16> {
        self.act("open", json!({ "address": address }))
    }

    /// Clicks what is there and leads to another place on the page, or to another page.
    pub(crate) fn click(&self, at: &str) -> Result<()> {
        self.act("click", json!({ "at": at }))
    }

    /// Sends the form whose button this is; gives the answer's status and waits for the page that follows.
    pub(crate) fn submit(&self, button: &str) -> Result<u16> {
        self.act("submit", json!({ "at": button }))
    }

    /// Fills in a field.
    pub(crate) fn write(&self, field: &str, text: &str) -> Result<()> {
        self.act("write", json!({ "at": field, "text": text }))
    }

    /// Presses a key.
    pub(crate) fn press(&self, key: &str) -> Result<()> {
        self.act("press", json!({ "key": key }))
    }

    /// Waits until something visible at this place has the text.
    pub(crate) fn see(&self, at: &str, text: &str) -> Result<()> {
        self.act("see", json!({ "at": at, "text": text }))
            .with_context(|| format!("the page says:\n{}", self.text("body").unwrap_or_default()))
    }

    /// The text at a place, as a person reads it.
    pub(crate) fn text(&self, at: &str) -> Result<String> {
        self.act("text", json!({ "at": at }))
    }

    /// How many there are.
    pub(crate) fn count(&self, at: &str) -> Result<usize> {
        self.act("count", json!({ "at": at }))
    }

    /// Where the tab is.
    pub(crate) fn address(&self) -> Result<String> {
        self.act("address", json!({}))
    }

    /// What an expression gives in the page.
    pub(crate) fn evaluate<T: DeserializeOwned>(&self, script: &str) -> Result<T> {
        self.act("evaluate", json!({ "script": script }))
    }

    /// Remembers that this very page is open.
    pub(crate) fn mark(&self) -> Result<()> {
        self.evaluate("void (window.marked = true)")
    }

    /// Fails when the page was loaded anew since it was marked.
    pub(crate) fn expect_not_reloaded(&self) -> Result<()> {
        let marked: bool = self.evaluate("window.marked === true")?;
        ensure!(marked, "the page was loaded anew");
        Ok(())
    }

    /// Takes a picture of the whole page, or of what the screen shows.
    pub(crate) fn picture(&self, file: &Path, whole: bool) -> Result<()> {
        self.act("picture", json!({ "file": file, "whole": whole }))
    }

    /// What keeps some people from using the page.
    pub(crate) fn barriers(&self) -> Result<Vec<String>> {
        self.act("barriers", json!({}))
    }

    /// What the browser said against pages in this tab: scripts that failed, what the content security policy stopped,
    /// dialogs that opened.
    pub(crate) fn complaints(&self) -> Result<Vec<String>> {
        self.act("complaints", json!({}))
    }

    /// Fails when there are complaints.
    pub(crate) fn expect_no_complaint(&self) -> Result<()> {
        let complaints = self.complaints()?;
        ensure!(complaints.is_empty(), "the browser complained: {complaints:?}");
        Ok(())
    }

    fn act<T: DeserializeOwned>(&self, act: &str, mut more: Value) -> Result<T> {
        more["act"] = act.into();
        more["tab"] = self.number.into();
        self.browser.ask(&more)
    }
}
