// Drives the page in Chromium from file://, as Go's TestPageInBrowser asks:
//
//   node browser.mjs PLAN.json
//
// PLAN: {page, browser, modules, screenshots?, cases: [{name, pack, anchors,
// verdict, check?, status?, labels?, by?}]}; modules is a folder with
// playwright-core and axe-core in its node_modules, by is "keyboard" or "drop"
// for another way than the file dialog, and watch asks for memory while the
// pack is read. It prints one JSON object; what is wrong goes to errors.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";

const plan = JSON.parse(readFileSync(process.argv[2], "utf8"));
const require = createRequire(join(plan.modules, "index.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const errors = [];
const memory = [];
const deadline = 15 * 60 * 1000;

function check(name, holds, what) {
  if (!holds) errors.push(`${name}: ${what}`);
}

/** audit runs axe-core over the page as it is. */
async function audit(page, name) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  for (const v of found.violations) errors.push(`${name}: axe: ${v.id}: ${v.help}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`);
  check(name, found.passes.length > 10, "axe looked at next to nothing");
}

async function shot(page, name) {
  if (plan.screenshots) await page.screenshot({ path: join(plan.screenshots, `${name}.png`), fullPage: true });
}

/** byKeyboard gives the pack, then pastes a key and verifies with no pointer. */
async function byKeyboard(page, c) {
  await page.setInputFiles("#pack", c.pack);
  const { keys } = JSON.parse(readFileSync(c.anchors, "utf8"));
  const reach = async (id) => {
    for (let i = 0; i < 60; i++) {
      if (await page.evaluate((want) => document.activeElement?.id === want || document.activeElement?.textContent === want, id)) return;
      await page.keyboard.press("Tab");
    }
    errors.push(`${c.name}: ${id} is not reached by Tab`);
  };
  await page.evaluate(() => document.body.focus());
  await reach("key-text");
  await page.keyboard.insertText(keys[0].key);
  await reach("Add the key");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelectorAll("#given li").length === 1);
  await reach("start");
  await page.keyboard.press("Enter");
}

/** byDrop drops pack and anchors on the page. */
async function byDrop(page, c) {
  const files = [c.pack, c.anchors].map((path) => ({ name: basename(path), base64: readFileSync(path).toString("base64") }));
  await page.evaluate((list) => {
    const data = new DataTransfer();
    for (const f of list) data.items.add(new File([Uint8Array.from(atob(f.base64), (ch) => ch.charCodeAt(0))], f.name));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
  }, files);
  await page.waitForFunction(() => document.querySelectorAll("#given li").length > 0 && !document.querySelector("#pack-name").textContent.startsWith("No"));
  await page.click("#start");
}

async function byDialog(page, c) {
  await page.setInputFiles("#pack", c.pack);
  await page.setInputFiles("#anchors", c.anchors);
  await page.waitForFunction(() => document.querySelector("#said").textContent.includes("added"));
  await page.click("#start");
}

/** watch samples the resident memory of the browser's renderers until stop is called. */
async function watch(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const pids = processInfo.filter((p) => p.type === "renderer" || p.type === "browser").map((p) => p.id);
  const resident = () => pids.reduce((sum, pid) => {
    try {
      return sum + Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
    } catch {
      return sum; // it ended meanwhile
    }
  }, 0);
  const before = resident();
  const samples = [];
  const timer = setInterval(() => samples.push(resident()), 100);
  return () => {
    clearInterval(timer);
    const half = Math.ceil(samples.length / 2);
    return { before, early: Math.max(...samples.slice(0, half)), late: Math.max(...samples.slice(half)), samples: samples.length };
  };
}

async function run(browser, c) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on("request", (r) => check(c.name, /^(file|blob|data):/.test(r.url()), `the page asked for ${r.url()}`));
  page.on("pageerror", (err) => errors.push(`${c.name}: ${err}`));
  page.on("console", (m) => { if (m.type() === "error" && !c.quiet) errors.push(`${c.name}: console: ${m.text()}`); });
  await page.goto(pathToFileURL(plan.page).href);
  const stop = c.watch ? await watch(browser) : null;
  const began = Date.now();
  await ({ keyboard: byKeyboard, drop: byDrop }[c.by] ?? byDialog)(page, c);
  await page.waitForSelector("#report .verdict", { timeout: deadline });
  if (stop) memory.push({ name: c.name, milliseconds: Date.now() - began, ...stop() });

  const report = await page.evaluate(() => ({
    verdict: document.querySelector("#report .verdict").classList[1],
    title: document.querySelector("#report .verdict h3").textContent,
    labels: [...document.querySelectorAll("#report .labels strong")].map((e) => e.textContent),
    rows: [...document.querySelectorAll("#report tbody tr")].map((r) => ({
      status: r.querySelector("td").textContent, id: r.querySelector("code").textContent, text: r.lastChild.textContent,
    })),
    focus: document.activeElement?.id,
    said: document.querySelector("#state").textContent,
    downloads: [...document.querySelectorAll("#report a[download]")].map((a) => a.download),
  }));
  check(c.name, report.verdict === c.verdict, `verdict ${report.verdict}, want ${c.verdict}: ${JSON.stringify(report.rows.filter((r) => r.status === "failed"))}`);
  if (c.check) check(c.name, report.rows.some((r) => r.id === c.check && r.status === c.status), `${c.check} is not ${c.status}`);
  check(c.name, report.focus === "result", `the focus is at ${report.focus}, not at the result`);
  check(c.name, report.said.startsWith("Verdict:") && report.title === report.said.slice(0, -1), `it says ${report.said}`);
  for (const id of ["findings.reevaluated", "derived.files"]) {
    check(c.name, report.rows.some((r) => r.id === id && r.status === "not-checked"), `it does not say that ${id} was not checked`);
  }
  check(c.name, (c.labels ?? []).every((l) => report.labels.includes(l)), `labels ${report.labels}, want ${c.labels}`);
  check(c.name, report.downloads.length === (c.verdict === "ok" ? 2 : 1), `downloads ${report.downloads}`);
  await checkDownload(page, c);
  if (c.audit) {
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await audit(page, `${c.name}, ${colorScheme}`);
      await shot(page, `${c.name.replaceAll(" ", "-")}-${colorScheme}`);
    }
  }
  await context.close();
}

async function checkDownload(page, c) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#report a[download]")]);
  const report = JSON.parse(readFileSync(await download.path(), "utf8"));
  check(c.name, report.verdict === c.verdict && report.pack === basename(c.pack) && report.checks.length > 20, "the downloaded report is another");
}

/** checkBare looks at the page before anything is given: it reaches nothing, and axe finds nothing. */
async function checkBare(browser) {
  const page = await (await browser.newContext()).newPage();
  await page.goto(pathToFileURL(plan.page).href);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await audit(page, `bare, ${colorScheme}`);
  }
  const blocked = await page.evaluate(async () => {
    const violations = [];
    document.addEventListener("securitypolicyviolation", (e) => violations.push(e.effectiveDirective));
    await fetch("http://127.0.0.1:9/").catch(() => {});
    const script = document.createElement("script");
    script.textContent = "globalThis.ran = true";
    document.body.append(script);
    await new Promise((resolve) => setTimeout(resolve, 50));
    return { violations, ran: globalThis.ran === true };
  });
  check("bare", blocked.violations.includes("connect-src"), `the policy did not stop a request: ${blocked.violations}`);
  check("bare", !blocked.ran, "the policy let another script run");
  await page.click("#start");
  check("bare", (await page.textContent("#said")) === "Choose a pack first.", "it does not ask for a pack");
  await page.close();
}

const browser = await chromium.launch({
  executablePath: plan.browser,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  await checkBare(browser);
  for (const c of plan.cases) await run(browser, c);
} finally {
  await browser.close();
}
console.log(JSON.stringify({ errors, memory }));
