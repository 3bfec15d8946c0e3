//! Decisions taken in the page, and what became of the request.

use anyhow::{Context as _, Result, ensure};
use shield_agent::approval::view::HoldState;

use crate::browser::{PHONE, Screen};
use crate::reviewer::{APPROVE, BODY, DENY, STATE, Scene, play};

const WITHOUT_SCRIPTS: Screen = Screen { scripts: false, ..PHONE };

#[test]
fn an_approved_request_is_sent_once_as_shown_and_its_agent_gets_the_answer() -> Result<()> {
    play(|scene| approve(scene, PHONE))
}

#[test]
fn approving_works_without_scripts() -> Result<()> {
    play(|scene| approve(scene, WITHOUT_SCRIPTS))
}

#[test]
fn a_denied_request_is_never_sent_and_its_agent_reads_the_reason() -> Result<()> {
    play(|scene| deny(scene, PHONE))
}

#[test]
fn denying_works_without_scripts() -> Result<()> {
    play(|scene| deny(scene, WITHOUT_SCRIPTS))
}

#[test]
fn an_answer_appears_on_the_page_while_it_is_open() -> Result<()> {
    play(|scene| {
        scene.deployment.origin.pause();
        let waiting = scene.asks("patient", "DELETE", "/patient/1", BODY)?;
        let tab = scene.logged_in(PHONE)?;
        scene.open_hold_of(&tab, "patient")?;
        tab.submit(APPROVE)?;
        tab.see(STATE, "Being sent")?;
        tab.mark()?;
        scene.deployment.origin.resume();
        tab.see(STATE, "The destination answered 200. It was sent once.")?;
        tab.expect_not_reloaded()?;
        ensure!(waiting.told()?.status == 200, "the agent was not answered");
        tab.expect_no_complaint()
    })
}

#[test]
fn a_form_that_was_overtaken_decides_nothing_and_says_what_happened() -> Result<()> {
    play(|scene| {
        let waiting = scene.asks("raced", "DELETE", "/v1/customers/3", BODY)?;
        // Without scripts nothing takes the form away when somebody else decides.
        let (first, stale) = (scene.logged_in(PHONE)?, scene.logged_in(WITHOUT_SCRIPTS)?);
        scene.open_hold_of(&first, "raced")?;
        scene.open_hold_of(&stale, "raced")?;
        first.write("input[name=reason]", "not this customer")?;
        first.submit(DENY)?;
        first.see(STATE, "Denied")?;
        let status = stale.submit(APPROVE)?;
        ensure!(status == 409, "a stale approval is answered {status}");
        stale.see("main", "not this customer")?;
        let told = waiting.told()?;
        ensure!(told.status == 403 && told.body.contains("not this customer"), "told {told:?}");
        let hold = scene.deployment.holds()?.pop().context("the hold is kept")?;
        ensure!(hold.state == HoldState::Denied, "ended {}", hold.state);
        scene.expect_never_sent("DELETE", "/v1/customers/3")
    })
}

#[test]
fn the_buttons_leave_the_page_when_somebody_else_decides() -> Result<()> {
    play(|scene| {
        let waiting = scene.asks("watched", "DELETE", "/v1/customers/4", BODY)?;
        let tab = scene.logged_in(PHONE)?;
        scene.open_hold_of(&tab, "watched")?;
        tab.see(DENY, "Deny")?;
        let hold = scene.deployment.pending("watched")?;
        scene.deployment.decide("deny", &hold, "I know better")?;
        tab.see(STATE, "I know better")?;
        ensure!(tab.count(APPROVE)? == 0 && tab.count(DENY)? == 0, "the buttons are still there");
        ensure!(waiting.told()?.status == 403, "the agent was not told");
        tab.expect_no_complaint()
    })
}

#[test]
fn a_keyboard_is_enough_to_approve() -> Result<()> {
    play(|scene| {
        let waiting = scene.asks("keyed", "DELETE", "/v1/customers/5", BODY)?;
        let tab = scene.logged_in(Screen { phone: false, ..PHONE })?;
        scene.open_hold_of(&tab, "keyed")?;
        let focused = "document.activeElement?.innerText ?? ''";
        for _ in 0..40 {
            tab.press("Tab")?;
            if tab.evaluate::<String>(focused)?.contains("Approve") {
                break;
            }
        }
        let text: String = tab.evaluate(focused)?;
        ensure!(text.contains("Approve"), "40 times Tab lead to `{text}`");
        tab.press("Enter")?;
        tab.see(STATE, "It was sent once.")?;
        ensure!(waiting.told()?.status == 200, "the agent was not answered");
        scene.expect_sent_once("DELETE", "/v1/customers/5", BODY)
    })
}

fn approve(scene: &Scene, screen: Screen) -> Result<()> {
    let path = "/v1/customers/1";
    let waiting = scene.asks("approved", "DELETE", path, BODY)?;
    let tab = scene.logged_in(screen)?;
    scene.open_hold_of(&tab, "approved")?;
    scene.expect_never_sent("DELETE", path)?;
    let status = tab.submit(APPROVE)?;
    ensure!(status == 303, "an approval is answered {status}");
    let told = waiting.told()?;
    ensure!(told.status == 200 && told.body.contains("DELETE /v1/customers/1"), "told {told:?}");
    scene.expect_sent_once("DELETE", path, BODY)?;
    if !screen.scripts {
        let here = tab.address()?;
        tab.open(&here)?;
    }
    tab.see(STATE, "The destination answered 200. It was sent once.")?;
    tab.see(STATE, "Ada Lovelace approved this")?;
    tab.expect_no_complaint()
}

fn deny(scene: &Scene, screen: Screen) -> Result<()> {
    let path = "/v1/customers/2";
    let waiting = scene.asks("denied", "DELETE", path, BODY)?;
    let tab = scene.logged_in(screen)?;
    scene.open_hold_of(&tab, "denied")?;
    tab.write("input[name=reason]", "use the staging account")?;
    let status = tab.submit(DENY)?;
    ensure!(status == 303, "a denial is answered {status}");
    tab.see(STATE, "It was not executed")?;
    tab.see(STATE, "use the staging account")?;
    let told = waiting.told()?;
    ensure!(told.status == 403 && told.body.contains("use the staging account"), "told {told:?}");
    scene.expect_never_sent("DELETE", path)?;
    tab.expect_no_complaint()
}
