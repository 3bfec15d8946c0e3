// Approves holds as a person would: follows the login link on a phone's screen, opens each card, reads, and taps.
// Says what it saw, and keeps pictures of it.
//
// Usage: node approve.mjs LINK HOLDS PICTURES

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { PHONE, startBrowser } from "./browser.mjs";

const [link, holds, pictures] = process.argv.slice(2);
mkdirSync(pictures, { recursive: true });

const browser = await startBrowser();
try {
  const page = await (await browser.newContext(PHONE)).newPage();
  const picture = (name) => page.screenshot({ path: join(pictures, `${name}.png`) });
  await page.goto(link);
  await page.getByLabel("Your name").fill("Ada Lovelace");
  await page.getByRole("button", { name: "Log in" }).tap();

  const cards = page.locator("#queue a.card");
  await cards.nth(Number(holds) - 1).waitFor();
  await picture("queue");
  console.log(`  the queue says: ${await page.locator("h2.title").innerText()}`);
  for (let left = Number(holds); left > 0; left -= 1) {
    await cards.first().tap();
    const method = await page.locator(".line .method").innerText();
    const url = await page.locator(".line .url").innerText();
    const body = await page.locator("pre[aria-label=Body]").innerText();
    await picture(`hold-${Number(holds) - left + 1}`);
    await tall(page, () => picture("hold-phone"));
    console.log(`  shown: ${method} ${url} ${body}`);
    await page.getByRole("button", { name: /^Approve once/i }).tap();
    const state = page.locator("#state").filter({ hasText: "It was sent once." });
    await state.waitFor();
    const said = await state.locator("p").first().innerText();
    console.log(`  approved: ${said}`);
    await picture(`sent-${Number(holds) - left + 1}`);
    await page.getByRole("link", { name: "Queue", exact: true }).first().tap();
    await page.locator("#queue").waitFor();
  }
  await page.getByText("Nothing is waiting").last().waitFor();
  console.log("  the queue says: nothing is waiting");
} finally {
  await browser.close();
}

// On a taller phone, so that the body is in the picture too.
async function tall(page, act) {
  await page.setViewportSize({ ...PHONE.viewport, height: 875 });
  await act();
  await page.setViewportSize(PHONE.viewport);
}
