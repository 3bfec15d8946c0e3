//! An agent that attacks its reviewer through what it sends.

use anyhow::{Result, ensure};

use crate::browser::PHONE;
use crate::reviewer::play;

/// Turns text around, takes no room, and looks like markup.
const BODY: &str = "{\"note\":\"</pre><script>alert(document.cookie)</script><img src=x onerror=alert(2)> \
                    safe\u{202e}elbisrever\u{200b}\u{feff}<style>*{display:none}</style>\"}";
const PATH: &str =
    "/v1/%3Cscript%3Ealert(3)%3C/script%3E/%E2%80%AE%E2%80%8B/'\"onmouseover=alert(4)/{{7*7}}/x?%3Cb%3E=1";

#[test]
fn what_an_agent_sends_is_shown_spelled_out_and_never_runs() -> Result<()> {
    play(|scene| {
        let waiting = scene.asks_with(
            "hostile",
            "DELETE",
            PATH,
            BODY,
            &["--globoff", "--user-agent", "<script>alert(5)</script>\u{202e}"],
        )?;
        let tab = scene.logged_in(PHONE)?;
        let hold = scene.deployment.pending("hostile")?;
        let console = scene.console()?;
        for page in ["/", "/history", "/agents", &format!("/h/{}", hold.id)] {
            tab.open(&format!("{console}{page}"))?;
            tab.see("h1, h2", "")?;
            let intruders =
                tab.count("main :is(script, style, iframe, object, [onerror], [onmouseover], [src=x])")?;
            ensure!(intruders == 0, "{intruders} elements of the agent on {page}");
            let text = tab.text("body")?;
            let unseen = ['\u{202e}', '\u{200b}', '\u{feff}'];
            ensure!(!text.contains(unseen), "characters that cannot be seen on {page}: {text:?}");
        }
        let page = tab.text("main")?;
        for needed in ["<script>alert(document.cookie)</script>", "safe‹U+202E›elbisrever‹U+200B›‹U+FEFF›"]
        {
            ensure!(page.contains(needed), "`{needed}` is not shown as sent:\n{page}");
        }
        scene.deployment.decide("deny", &hold, "no")?;
        waiting.told()?;
        tab.expect_no_complaint()
    })
}
