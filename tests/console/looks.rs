//! Every page on a phone and on a desk, light and dark. Pictures go to `artefacts/console/`, for people to look at.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use shield_tests::client::Running;

use crate::browser::{PHONE, Screen, Tab};
use crate::refused::Probe;
use crate::reviewer::{BODY, DENY, Scene, play};

const SCREENS: [(&str, Screen); 4] = [
    ("phone-light", PHONE),
    ("phone-dark", Screen { dark: true, ..PHONE }),
    ("desk-light", Screen { phone: false, ..PHONE }),
    ("desk-dark", Screen { phone: false, dark: true, ..PHONE }),
];

#[test]
fn every_page_fits_a_phone_is_dark_when_asked_and_keeps_nobody_out() -> Result<()> {
    play(|scene| {
        let gallery = Gallery::new(scene)?;
        gallery.login()?;
        gallery.take("queue-calm", "/")?;
        let waiting = ask(scene)?;
        gallery.take("queue", "/")?;
        let _probe = Probe::start(scene, "prober")?;
        gallery.see_refusals("/agents/prober")?;
        gallery.take("agents", "/agents")?;
        gallery.take("agent", "/agents/prober")?;
        let hold = |agent| scene.deployment.pending(agent);
        let (plain, long) = (hold("cleanup-bot")?, hold("deploy-bot")?);
        let (at_plain, at_long) = (format!("/h/{}", plain.id), format!("/h/{}", long.id));
        gallery.take("hold", &at_plain)?;
        gallery.take("hold-long", &at_long)?;
        gallery.conflict("cleanup-bot", &at_plain)?;
        scene.deployment.decide("deny", &long, "Too broad: narrow it down to what you need.")?;
        waiting.into_iter().try_for_each(|running| running.told().map(|_| ()))?;
        gallery.take("hold-sent", &at_plain)?;
        gallery.take("hold-denied", &at_long)?;
        gallery.take("history", "/history")?;
        gallery.take("not-found", "/nowhere")?;
        gallery.verdict()
    })
}

/// A plain request and one that is long everywhere.
fn ask(scene: &Scene) -> Result<Vec<Running>> {
    scene.asks("reader", "GET", "/v1/customers/8821", "")?.told()?;
    let json =
        ["--header", "content-type: application/json", "--header", "authorization: Bearer sk_live_2k8fR7"];
    let plain = scene.asks_with("cleanup-bot", "DELETE", "/v1/customers/8821", BODY, &json)?;
    let path = format!("/v1/exports/{}?filter={}", "a1b2c3d4".repeat(30), "without-a-break-".repeat(12));
    let rows: Vec<String> =
        (0..200).map(|row| format!(r#"{{"id":{row},"name":"customer {row}"}}"#)).collect();
    let body = format!("[{}]", rows.join(",\n"));
    let long = scene.asks_with("deploy-bot", "DELETE", &path, &body, &json)?;
    scene.deployment.pending("deploy-bot")?;
    Ok(vec![plain, long])
}

/// A reviewer at each screen.
struct Gallery<'a> {
    scene: &'a Scene,
    console: String,
    folder: PathBuf,
    tabs: Vec<(&'static str, Screen, Tab<'a>)>,
    /// What is wrong with which page: told at the end, so that one run tells everything.
    wrong: RefCell<Vec<String>>,
}

impl<'a> Gallery<'a> {
    fn new(scene: &'a Scene) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../artefacts/console");
        std::fs::create_dir_all(&folder).context("cannot make a folder for pictures")?;
        let tab = |(name, screen)| Ok((name, screen, scene.logged_in(screen)?));
        let tabs = SCREENS.into_iter().map(tab).collect::<Result<_>>()?;
        Ok(Self { scene, console: scene.console()?, folder, tabs, wrong: RefCell::default() })
    }

    /// Waits until the kernel's refusals are there.
    fn see_refusals(&self, address: &str) -> Result<()> {
        let (_, _, tab) = self.tabs.first().context("there are screens")?;
        shield_tests::wait::until("the agent to be known", || {
            (tab.open(&format!("{}{address}", self.console)).ok()? == 200).then_some(())
        })?;
        tab.see("#agent .reasons", "UDP other than names")?;
        tab.see("#agent .note", "does not trust the gate's certificates")
    }

    /// The page a link opens.
    fn login(&self) -> Result<()> {
        for (name, screen) in SCREENS {
            let tab = self.scene.browser.visitor(screen)?.tab()?;
            tab.open(&self.scene.link()?)?;
            self.judge("login", name, screen, &tab)?;
        }
        Ok(())
    }

    /// Two reviewers who decide at once: what the slower one sees.
    fn conflict(&self, agent: &str, address: &str) -> Result<()> {
        let hold = self.scene.deployment.pending(agent)?;
        let slow = SCREENS
            .map(|(name, screen)| (name, screen, self.scene.logged_in(Screen { scripts: false, ..screen })));
        for (_, _, tab) in &slow {
            tab.as_ref()
                .map_err(|error| anyhow::anyhow!("{error:#}"))?
                .open(&format!("{}{address}", self.console))?;
        }
        self.scene.deployment.decide("approve", &hold, "As discussed.")?;
        for (name, screen, tab) in slow {
            let tab = tab?;
            tab.submit(DENY)?;
            self.judge("conflict", name, Screen { scripts: false, ..screen }, &tab)?;
        }
        Ok(())
    }

    fn take(&self, page: &str, address: &str) -> Result<()> {
        for (name, screen, tab) in &self.tabs {
            tab.open(&format!("{}{address}", self.console))?;
            self.judge(page, name, *screen, tab)?;
        }
        Ok(())
    }

    fn judge(&self, page: &str, name: &str, screen: Screen, tab: &Tab<'_>) -> Result<()> {
        tab.picture(&self.folder.join(format!("{page}-{name}.png")), false)?;
        if page.starts_with("hold") || page == "agent" {
            tab.picture(&self.folder.join(format!("{page}-{name}-whole.png")), true)?;
        }
        let mut wrong = tab.complaints()?;
        let width: u32 = tab.evaluate("document.documentElement.scrollWidth")?;
        let room = if screen.phone { 360 } else { 1280 };
        if width > room {
            wrong.push(format!("{width} pixels wide, and there are {room}"));
        }
        if is_dark(tab)? != screen.dark {
            wrong.push("light where dark was asked for, or the other way round".into());
        }
        // Looking for barriers takes scripts.
        if screen.scripts {
            wrong.extend(tab.barriers()?);
        }
        self.wrong.borrow_mut().extend(wrong.into_iter().map(|what| format!("{page} on {name}: {what}")));
        Ok(())
    }

    fn verdict(&self) -> Result<()> {
        let wrong = self.wrong.borrow();
        ensure!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    }
}

/// Whether the page's text is lighter than what lies below it.
fn is_dark(tab: &Tab<'_>) -> Result<bool> {
    tab.evaluate(
        "(() => { const style = getComputedStyle(document.body);
           const light = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
           return light(style.color) > light(style.backgroundColor); })()",
    )
}
