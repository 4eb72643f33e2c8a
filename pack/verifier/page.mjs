// The page around the verifier. Text of unknown origin reaches the document as
// text alone, through clean and textContent.

import { addAnchors, noAnchors, readAnchorFile, readAnchorText } from "./anchorfiles.mjs";
import { FormError, clean } from "./bytes.mjs";
import { parseKey } from "./keys.mjs";
import { roles } from "./packjson.mjs";
import { checkTitles, groupChecks, labelsOf, verdictWords } from "./words.mjs";
import { verify } from "./verify.mjs";

const at = (id) => document.getElementById(id);
let anchors = noAnchors();
let chosen = null; // the pack, a File
let running = null; // an AbortController while a pack is verified
let links = []; // Blob URLs of the downloads shown

/** make builds an element; children are elements or text. */
function make(name, properties = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in e) e[key] = value;
    else e.setAttribute(key, value);
  }
  e.append(...children);
  return e;
}

function say(text) {
  at("said").textContent = text;
}

async function take(files) {
  const words = [];
  for (const file of files) {
    const name = clean(file.name);
    try {
      const head = new Uint8Array(await file.slice(0, 4).arrayBuffer());
      if (head[0] === 0x50 && head[1] === 0x4b) {
        choose(file);
        words.push(`${name}: the pack.`);
      } else if (/\.zip$/i.test(file.name)) {
        choose(file);
        words.push(`${name}: taken as the pack, though it does not begin like one.`);
      } else {
        addAnchors(anchors, readAnchorFile(new Uint8Array(await file.arrayBuffer())));
        words.push(`${name}: added.`);
      }
    } catch (err) {
      words.push(`${name}: not used: ${clean(err.message)}.`);
    }
  }
  say(words.join(" "));
  showAnchors();
}

function choose(file) {
  chosen = file;
  at("pack-name").textContent = `${clean(file.name)}, ${file.size.toLocaleString("en")} bytes`;
}

/** showAnchors lists what was given, each with a button to take it away. */
function showAnchors() {
  const items = [];
  anchors.keys.forEach((k, i) => items.push(keyItem(k, i)));
  for (const [name, what] of [["log_keys", "Key of the log"], ["witnesses", "Key of the witness"]]) {
    anchors[name].forEach((text, i) => items.push(item(`${what} ${clean(text.split("+")[0])}`, () => anchors[name].splice(i, 1))));
  }
  anchors.tsa_roots.forEach((_, i) => items.push(item(`Roots of timestamp authorities, number ${i + 1}`, () => anchors.tsa_roots.splice(i, 1))));
  if (anchors.state) {
    const s = anchors.state;
    items.push(item(`Last accepted pack: ${clean(String(s.organisation))}, ${clean(String(s.system))}, number ${clean(String(s.sequence))}`, () => { anchors.state = null; }));
  }
  at("given").replaceChildren(...items);
  at("none-given").hidden = items.length > 0;
  for (const box of document.querySelectorAll("[name=require]")) box.checked = anchors.require_roles.includes(box.value);
}

function item(text, remove, ...more) {
  const button = make("button", { type: "button", "aria-label": `Remove: ${text}` }, "Remove");
  button.addEventListener("click", () => {
    remove();
    showAnchors();
    say(`Removed: ${text}.`);
    at("given-title").focus();
  });
  return make("li", {}, make("div", {}, text), ...more, button);
}

function keyItem(k, i) {
  let fingerprint = "a key that cannot be read";
  try {
    fingerprint = parseKey(k.key).fingerprint;
  } catch (err) {
    if (!(err instanceof FormError)) throw err;
  }
  const select = make("select", { id: `role-${i}` }, ...roles.map((r) => make("option", { value: r, selected: r === k.role }, r)));
  select.addEventListener("change", () => { k.role = select.value; });
  const validity = [k.identity && `identity ${k.identity}`, k.from && `from ${k.from}`, k.until && `until ${k.until}`].filter(Boolean).join(", ");
  const about = make("div", { className: "row" }, make("label", { htmlFor: select.id }, "Key of the"), select, make("span", { className: "hint" }, clean(validity)));
  return item(fingerprint, () => anchors.keys.splice(i, 1), about);
}

async function start() {
  if (running) return;
  if (!chosen) {
    say("Choose a pack first.");
    at("pack").focus();
    return;
  }
  running = new AbortController();
  const { signal } = running;
  busy(true);
  const source = { name: chosen.name, size: chosen.size, read: readOf(chosen) };
  try {
    const result = await verify(source, anchors, { signal, progress: (done) => showProgress(done, source.size) });
    showReport(result);
  } catch (err) {
    at("state").textContent = signal.aborted ? "Cancelled: nothing is said about the pack." : `Not verified: ${clean(err.message)}`;
  } finally {
    running = null;
    busy(false);
    at("result").focus();
  }
}

function readOf(file) {
  return async (offset, length) => new Uint8Array(await file.slice(offset, offset + length).arrayBuffer());
}

function busy(yes) {
  at("start").disabled = yes;
  at("cancel").disabled = !yes;
  at("working").hidden = !yes;
  if (!yes) return;
  at("report").replaceChildren();
  at("state").textContent = "Verifying.";
  showProgress(0, 1);
}

/** showProgress moves the bar, and tells every fourth part to who listens. */
function showProgress(done, size) {
  const percent = Math.min(100, Math.floor((100 * done) / size));
  const before = at("progress").value;
  at("progress").value = percent;
  if (Math.floor(percent / 25) > Math.floor(before / 25) && percent < 100) at("state").textContent = `Verifying: ${percent} % of the pack read.`;
}

function showReport({ report, accepted }) {
  for (const link of links) URL.revokeObjectURL(link);
  links = [];
  const words = verdictWords(report);
  at("state").textContent = `${words.title}.`;
  const labels = labelsOf(report);
  const facts = [
    ["Pack", report.pack], ["Organisation", report.organisation], ["System", report.system], ["Period", report.period],
    ["Number", report.sequence], ["SHA-256 of pack.json", report.pack_json_sha256],
  ].filter(([, value]) => value !== undefined);
  at("report").replaceChildren(
    make("div", { className: `verdict ${report.verdict}` }, make("h3", {}, words.title), make("p", {}, words.meaning)),
    ...(labels.length > 0 ? [make("p", { className: "labels" }, ...labels.map((l) => make("strong", {}, l)))] : []),
    make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))])),
    make("div", { className: "row" }, ...downloads(report, accepted)),
    ...(report.withheld ? [withheldList(report.withheld)] : []),
    ...groupChecks(report).map(({ title, checks }) => table(title, checks)),
  );
}

/** withheldList says what redactions took out of the pack, why and by whom. */
function withheldList(withheld) {
  const items = withheld.map((w) => make("li", {}, make("code", {}, w.class), `, ${w.files} ${w.files === 1 ? "file" : "files"}: ${w.reason}. By ${w.by || "nobody named"}${w.signed ? "" : ", under no key that was given"}.`));
  return make("div", {}, make("h3", {}, "What is withheld"), make("ul", {}, ...items));
}

function downloads(report, accepted) {
  const out = [download("Download the report (JSON)", `${report.pack}.report.json`, JSON.stringify(report, null, 2) + "\n")];
  if (accepted) out.push(download("Download the state to keep (JSON)", accepted.name, accepted.text));
  return out;
}

function download(text, name, content) {
  const href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  links.push(href);
  return make("a", { href, download: name }, text);
}

function table(title, checks) {
  const rows = checks.map((c) => make("tr", {},
    make("td", { className: `status ${c.status === "passed" ? "ok" : c.status === "failed" ? "failed" : "inconclusive"}` }, c.status),
    make("th", { scope: "row" }, make("code", {}, c.id), make("div", { className: "hint" }, checkTitles[c.id] ?? "")),
    make("td", {}, details(c))));
  const head = make("thead", {}, make("tr", {}, ...["Status", "Check", "What was found"].map((t) => make("th", { scope: "col" }, t))));
  return make("div", { className: "wide", tabIndex: 0, role: "region", "aria-label": title },
    make("table", {}, make("caption", {}, `${title} (${checks.length})`), head, make("tbody", {}, ...rows)));
}

function details(c) {
  if (c.status !== "failed") return make("div", {}, c.path ? `${c.path}: ${c.actual}` : c.actual);
  const parts = [["Path", c.path], ["Expected", c.expected], ["Actual", c.actual]].filter(([, value]) => value);
  return make("dl", {}, ...parts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function listen() {
  at("pack").addEventListener("change", (e) => { if (e.target.files[0]) choose(e.target.files[0]); });
  at("anchors").addEventListener("change", (e) => take([...e.target.files]));
  at("paste").addEventListener("submit", (e) => {
    e.preventDefault();
    try {
      addAnchors(anchors, readAnchorText(at("key-text").value));
      at("key-text").value = "";
      say("The key was added.");
      showAnchors();
    } catch (err) {
      say(`Not used: ${clean(err.message)}.`);
    }
  });
  for (const box of document.querySelectorAll("[name=require]")) {
    box.addEventListener("change", () => {
      anchors.require_roles = anchors.require_roles.filter((r) => r !== box.value).concat(box.checked ? [box.value] : []);
    });
  }
  at("start").addEventListener("click", start);
  at("cancel").addEventListener("click", () => running?.abort());
  at("given-title").tabIndex = -1;
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (e) => e.preventDefault());
  document.addEventListener("dragenter", () => at("drop").classList.add("over"));
  document.addEventListener("dragleave", (e) => { if (!e.relatedTarget) at("drop").classList.remove("over"); });
  document.addEventListener("drop", (e) => {
    at("drop").classList.remove("over");
    take([...e.dataTransfer.files]);
  });
  showAnchors();
}

listen();
