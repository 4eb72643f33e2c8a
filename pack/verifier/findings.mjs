// Controls and their findings (FORMAT.md, section 5): do they fit one another,
// and is data/exceptions.json what they give? Whether the findings follow from
// the evidence is left to the Go verifier.

import { refuse, textOf } from "./bytes.mjs";
import { attempt } from "./files.mjs";
import { canonical, parseCanonicalBytes } from "./json.mjs";
import { controlFile } from "./layout.mjs";
import { controlForm, findingsForm, referencesForm } from "./records.mjs";

const exceptionsPath = "data/exceptions.json";
const longestFile = 1 << 28;

/** checkFindings makes findings and derived.exceptions. */
export async function checkFindings(v) {
  const folders = new Map();
  for (const path of v.manifest.files.keys()) {
    const at = controlFile(path);
    if (at) folders.set(at.folder, at);
  }
  const collections = new Map([...v.collections.values()].map((c) => [`${c.folder}/evidence.json`, c]));
  const exceptions = [];
  let findings = 0;
  for (const at of folders.values()) {
    await v.tick(0);
    const read = (file, form, fn) => attempt(async () => {
      const value = parseCanonicalBytes(await v.read(`${at.folder}/${file}`, longestFile), "it");
      form(value, "it");
      return fn(value);
    }, (why) => v.results.fail("findings", `${at.folder}/${file}`, "a control with its findings and references", why));
    await read("control.json", controlForm, (c) => checkControl(c, at));
    const references = await read("references.json", referencesForm, (list) => checkReferences(list ?? [], collections));
    const made = await read("findings.json", findingsForm, (list) => checkList(list ?? [], at, references));
    findings += made?.length ?? 0;
    for (const f of made ?? []) exceptions.push(...(f.exceptions ?? []).map((e) => ({ ...e, control: f.control })));
  }
  if (v.results.clear("findings")) v.results.pass("findings", `${findings} findings of ${folders.size} controls`);
  await checkExceptions(v, exceptions);
}

function checkControl(c, at) {
  if (c.id !== at.control) refuse(`its id is ${c.id}, its folder ${at.control}`);
  if (c.stage !== at.stage) refuse(`its stage is ${c.stage}, its folder's ${at.stage}`);
}

/** checkReferences gives the kinds of the references by ID. */
function checkReferences(list, collections) {
  const out = new Map();
  for (const r of list) {
    const c = collections.get(r.path);
    if (!c) refuse(`${r.path} is no collection of the pack`);
    if (c.id !== r.id) refuse(`${r.path} has the ID ${c.id}, not ${r.id}`);
    if (c.kind !== r.kind) refuse(`${r.path} is of the kind ${c.kind}, not ${r.kind}`);
    out.set(r.id, r.kind);
  }
  return out;
}

function checkList(list, at, references) {
  for (const f of list) {
    if (f.control !== at.control) refuse(`a finding of ${f.control} in the folder of ${at.control}`);
    for (const e of references ? f.evidence ?? [] : []) {
      if (!references.has(e.id)) refuse(`a finding cites ${e.id}, which references.json does not have`);
      if (references.get(e.id) !== e.kind) refuse(`a finding cites ${e.id} as ${e.kind}`);
    }
  }
  return list;
}

async function checkExceptions(v, exceptions) {
  const fail = (why) => v.results.fail("derived.exceptions", exceptionsPath, `the ${exceptions.length} exceptions of the findings`, why);
  const text = await attempt(async () => textOf(await v.read(exceptionsPath, longestFile), "it"), fail);
  if (text === undefined) return;
  if (text !== canonical(exceptions)) fail("another list");
  else v.results.pass("derived.exceptions", `${exceptions.length} exceptions`);
}
