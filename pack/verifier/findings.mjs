// Controls and their findings (FORMAT.md, section 5): do they fit one another,
// and is data/exceptions.json what they give? Whether the findings follow from
// the evidence is left to the Go verifier.

import { refuse, textOf } from "./bytes.mjs";
import { attempt } from "./files.mjs";
import { canonical, parseCanonicalBytes, parseJSON } from "./json.mjs";
import { controlFile } from "./layout.mjs";

const exceptionsPath = "data/exceptions.json";
const longestFile = 1 << 28;

/** checkFindings makes findings and derived.exceptions. */
export async function checkFindings(v) {
  const folders = new Map();
  for (const path of v.manifest.files.keys()) {
    const at = controlFile(path);
    if (at) folders.set(at.folder, at);
  }
  const idOfPath = new Map([...v.collections.values()].map((c) => [`${c.folder}/evidence.json`, c]));
  const exceptions = [];
  let findings = 0;
  let whole = true;
  for (const at of folders.values()) {
    await v.tick(0);
    const read = (file, fn, parse = parseJSON) => attempt(
      async () => fn(parse(await v.archive.read(`${at.folder}/${file}`, longestFile), "it")),
      (why) => v.results.fail("findings", `${at.folder}/${file}`, "a control with its findings and references", why),
    );
    await read("control.json", (c) => checkControl(c, at));
    const references = await read("references.json", (list) => checkReferences(list, idOfPath));
    const made = await read("findings.json", (list) => checkList(list, at, references ?? new Map()), parseCanonicalBytes);
    if (!made) whole = false;
    findings += made?.length ?? 0;
    for (const f of made ?? []) exceptions.push(...f.exceptions.map((e) => ({ ...e, control: f.control })));
  }
  if (v.results.clear("findings")) v.results.pass("findings", `${findings} findings of ${folders.size} controls`);
  if (whole) await checkExceptions(v, exceptions);
}

function checkControl(c, at) {
  if (c?.id !== at.control) refuse(`its id is ${String(c?.id)}, its folder ${at.control}`);
  if (c.stage !== at.stage) refuse(`its stage is ${String(c.stage)}, its folder's ${at.stage}`);
}

/** checkReferences gives the kinds of the references by ID. */
function checkReferences(list, collections) {
  if (!Array.isArray(list)) refuse("not an array");
  const out = new Map();
  for (const r of list) {
    const c = collections.get(r?.path);
    if (!c) refuse(`${String(r?.path)} is no collection of the pack`);
    if (c.id !== r.id) refuse(`${r.path} has the ID ${c.id}, not ${String(r.id)}`);
    if (c.record && c.record.kind !== r.kind) refuse(`${r.path} is of the kind ${c.record.kind}, not ${String(r.kind)}`);
    out.set(r.id, r.kind);
  }
  return out;
}

function checkList(list, at, references) {
  if (!Array.isArray(list)) refuse("not an array");
  for (const f of list) {
    if (f?.control !== at.control) refuse(`a finding of ${String(f?.control)} in the folder of ${at.control}`);
    if (!Array.isArray(f.exceptions) || !Array.isArray(f.evidence)) refuse("a finding without its lists of exceptions and evidence");
    for (const e of f.evidence) {
      if (!references.has(e?.id)) refuse(`a finding cites ${String(e?.id)}, which references.json does not have`);
      if (references.get(e.id) !== e.kind) refuse(`a finding cites ${e.id} as ${String(e.kind)}`);
    }
    for (const e of f.exceptions) {
      if (e === null || typeof e !== "object" || Array.isArray(e)) refuse("an exception that is not an object");
    }
  }
  return list;
}

async function checkExceptions(v, exceptions) {
  const fail = (why) => v.results.fail("derived.exceptions", exceptionsPath, `the ${exceptions.length} exceptions of the findings`, why);
  const text = await attempt(async () => textOf(await v.archive.read(exceptionsPath, longestFile), "it"), fail);
  if (text === undefined) return;
  if (text !== canonical(exceptions)) fail("another list");
  else v.results.pass("derived.exceptions", `${exceptions.length} exceptions`);
}
