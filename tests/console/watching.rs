//! What pages show, and when.

use anyhow::{Context as _, Result, ensure};

use crate::browser::PHONE;
use crate::reviewer::{BODY, play};

const SECRET: &str = "sk_live_2k8fR7pQx9Zt";

#[test]
fn a_hold_arrives_on_an_open_queue() -> Result<()> {
    play(|scene| {
        let tab = scene.logged_in(PHONE)?;
        tab.see("#queue", "Nothing is waiting")?;
        tab.mark()?;
        let waiting = scene.asks("late", "DELETE", "/v1/customers/8821", BODY)?;
        tab.see("#queue a.card", "Delete customer 8821 at crm.acme.internal")?;
        tab.expect_not_reloaded()?;
        let hold = scene.deployment.pending("late")?;
        scene.deployment.decide("deny", &hold, "")?;
        tab.see("#queue", "Nothing is waiting")?;
        waiting.told()?;
        tab.expect_no_complaint()
    })
}

#[test]
fn a_hold_page_shows_all_that_is_judged_and_no_credential() -> Result<()> {
    play(|scene| {
        let headers = scene.deployment.dir().join("headers");
        let lines =
            format!("Authorization: Bearer {SECRET}\nX-Api-Key: {SECRET}\nCookie: session={SECRET}\n");
        std::fs::write(&headers, lines)?;
        let from_file = format!("@{}", headers.display());
        let more = ["--header", &from_file, "--header", "Content-Type: application/json"];
        let path = "/v1/customers/8821?cascade=yes";
        let waiting = scene.asks_with("shown", "DELETE", path, BODY, &more)?;
        let tab = scene.logged_in(PHONE)?;
        tab.click("#queue a.card")?;
        tab.see("h1", "8821")?;
        let page = tab.text("main")?;
        let origin = scene.deployment.origin.address.to_string();
        let shown = [
            "DELETE",
            "https://crm.acme.internal/v1/customers/8821?cascade=yes",
            BODY,
            "application/json",
            "http-delete",
            "deletes cannot be undone",
            "crm.acme.internal",
            &origin,
            "443",
            "curl",
            "Bearer ••••",
        ];
        for needed in shown {
            ensure!(page.contains(needed), "`{needed}` is not shown:\n{page}");
        }
        let source: String = tab.evaluate("document.documentElement.outerHTML")?;
        ensure!(!source.contains(SECRET), "a credential is in the page:\n{page}");
        let hold = scene.deployment.pending("shown")?;
        scene.deployment.decide("approve", &hold, "")?;
        waiting.told()?;
        let receipts = scene.receipts("DELETE", "/v1/customers/8821");
        let sent = receipts.first().context("never sent")?;
        let credential = sent.headers.iter().find(|(name, _)| name == "authorization");
        ensure!(
            credential.is_some_and(|(_, value)| value.contains(SECRET)),
            "sent without its credential: {sent:?}"
        );
        Ok(())
    })
}

#[test]
fn history_and_agents_tell_what_happened_and_who_asks() -> Result<()> {
    play(|scene| {
        scene.asks("reader", "GET", "/v1/customers/7", "")?.told()?;
        let waiting = scene.asks("deleter", "DELETE", "/v1/customers/7", BODY)?;
        let tab = scene.logged_in(PHONE)?;
        let hold = scene.deployment.pending("deleter")?;
        tab.click("role=link[name='Agents']")?;
        tab.see("li.agent:has-text('deleter')", "gated")?;
        tab.see("li.agent:has-text('reader')", "not running")?;
        scene.deployment.decide("approve", &hold, "")?;
        waiting.told()?;
        tab.click("role=link[name='History'] >> nth=0")?;
        tab.see("ol.log li:has-text('reader')", "GET https://crm.acme.internal/v1/customers/7")?;
        tab.see("ol.log li:has-text('deleter')", "DELETE https://crm.acme.internal/v1/customers/7")?;
        tab.see("ol.log li:has-text('deleter')", "http-delete")?;
        tab.expect_no_complaint()
    })
}
