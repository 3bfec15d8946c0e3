// Acts in a browser for the tests: one JSON line asks, one JSON line answers, until the input ends.
//
// A visitor is a browser profile with its own cookies; a tab is a page of one. What a page complains about (errors,
// breaches of its content security policy, dialogs that open) is kept and told on request.

import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { DESK, PHONE, startBrowser } from "./browser.mjs";

const PATIENCE = 30_000;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await startBrowser();
const visitors = new Map();
const tabs = new Map();

const acts = {
  async visit({ visitor, phone, scripts, dark }) {
    const context = await browser.newContext({
      ...(phone ? PHONE : DESK),
      javaScriptEnabled: scripts,
      colorScheme: dark ? "dark" : "light",
      reducedMotion: "reduce",
    });
    context.setDefaultTimeout(PATIENCE);
    visitors.set(visitor, context);
  },
  async tab({ visitor, tab }) {
    const page = await visitors.get(visitor).newPage();
    const complaints = [];
    page.on("console", (line) => {
      // That an answer was an error is what the browser says of the page's own address.
      if (line.type() === "error" && line.location().url !== page.url()) complaints.push(line.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("dialog", (dialog) => {
      complaints.push(`a dialog opened: ${dialog.message()}`);
      return dialog.dismiss();
    });
    tabs.set(tab, { page, complaints });
  },
  async open({ page, address }) {
    const answer = await page.goto(address);
    return answer.status();
  },
  // What follows a click that leaves the page: its answer's status.
  async submit({ page, at }) {
    const answered = page.waitForResponse((one) => one.request().method() === "POST" && one.request().isNavigationRequest());
    const arrived = page.waitForEvent("load");
    await page.locator(at).click();
    const answer = await answered;
    await arrived;
    return answer.status();
  },
  click: ({ page, at }) => page.locator(at).click(),
  tap: ({ page, at }) => page.locator(at).tap(),
  write: ({ page, at, text }) => page.locator(at).fill(text),
  press: ({ page, key }) => page.keyboard.press(key),
  // Waits until something at this place is visible and has the text.
  see: ({ page, at, text }) => page.locator(at).filter({ hasText: text, visible: true }).first().waitFor(),
  text: ({ page, at }) => page.locator(at).first().innerText(),
  count: ({ page, at }) => page.locator(at).count(),
  address: ({ page }) => page.url(),
  evaluate: ({ page, script }) => page.evaluate(script),
  complaints: ({ complaints }) => complaints,
  picture: ({ page, file, whole }) => picture(page, { path: file, fullPage: whole }),
  // What a person with another way of reading or pointing could not use.
  async barriers({ page }) {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(" ")}`);
  },
};

// A browser on a busy machine may have nothing drawn yet when it is asked: then it is asked again.
async function picture(page, options, attempts = 5) {
  try {
    await page.screenshot(options);
  } catch (error) {
    if (attempts <= 1 || !error.message.includes("Unable to capture screenshot")) throw error;
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    await picture(page, options, attempts - 1);
  }
}

// A page that does not answer is a failure, and not a test that never ends.
async function inTime(act, doing) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${act} never ended`)), 2 * PATIENCE);
  });
  return Promise.race([doing, late]).finally(() => clearTimeout(timer));
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const { act, ...rest } = JSON.parse(line);
    answer = { ok: (await inTime(act, acts[act]({ ...tabs.get(rest.tab), ...rest }))) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
