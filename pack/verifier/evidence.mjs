// Collections (FORMAT.md, section 5): each is what its record says, stands where
// it should, belongs to the period, and is labelled.

import { compareText, lowerASCII } from "./bytes.mjs";
import { attempt } from "./files.mjs";
import { parseCanonicalBytes } from "./json.mjs";
import { collectionFile } from "./layout.mjs";
import { isWithheld } from "./manifest.mjs";
import { escapePath, escapeSegment } from "./names.mjs";
import { recordForm } from "./records.mjs";
import { day, periodOf, textOfTime, timeOf } from "./times.mjs";

const longestRecord = 1 << 26;

/** gatherCollections finds the folders of collections among the manifest's files: v.collections, by folder. */
export function gatherCollections(v) {
  v.collections = new Map();
  for (const file of v.manifest.files.values()) {
    const at = collectionFile(file.path);
    if (!at) continue;
    let c = v.collections.get(at.folder);
    if (!c) v.collections.set(at.folder, (c = { folder: at.folder, kindFolder: at.kind, name: at.name, files: new Map() }));
    c.files.set(at.file, file);
    if (at.file === "evidence.json") [c.id, c.kind] = [file.sha256, file.kind];
  }
}

/** checkCollections makes evidence.id, evidence.window, and the part of sample.label that collections have. */
export async function checkCollections(v) {
  const { results } = v;
  const ids = new Map();
  for (const c of v.collections.values()) {
    await v.tick(0);
    const path = `${c.folder}/evidence.json`;
    const fail = (why, expected = "a collection as its record says") => results.fail("evidence.id", path, expected, why);
    if (!c.id || !v.archive.has(path)) {
      fail("its evidence.json is missing");
      continue;
    }
    if (ids.has(c.id)) fail(`the same collection stands in ${ids.get(c.id)}`, "each collection once");
    ids.set(c.id, c.folder);
    const record = await attempt(async () => parseRecord(parseCanonicalBytes(await v.read(path, longestRecord), "it")), fail);
    if (!record) continue;
    c.record = record;
    checkPlace(v, c, path);
    checkFiles(v, c);
    checkPeriod(v, c, path);
    checkLabel(v, c, path);
  }
  if (results.clear("evidence.id")) results.pass("evidence.id", `${v.collections.size} collections are what their records say`);
  if (results.clear("evidence.window")) results.pass("evidence.window", `${v.collections.size} collections belong to the period`);
}

function parseRecord(r) {
  recordForm(r, "the record");
  return {
    kind: r.kind, population: r.population_sha256, raw: r.raw ?? [],
    collectedAt: timeOf(r.collected_at, "collected_at"), window: periodOf(r.window, "window"),
    origin: r.provenance.origin, clock: r.provenance.clock,
  };
}

function checkPlace(v, c, path) {
  const want = `${textOfTime(c.record.collectedAt).slice(0, 19).replace(/[-:]/g, "")}Z-${c.id.slice(0, 12)}`;
  if (c.name !== want) v.results.fail("evidence.id", path, `a folder ${want}`, c.name);
  const kind = escapeSegment(c.record.kind);
  if (c.kindFolder !== kind) v.results.fail("evidence.id", path, `a folder of the kind ${kind}`, c.kindFolder);
}

/** checkFiles holds the files of a collection, and what the manifest says of them, to the record. */
function checkFiles(v, c) {
  const fail = (file, expected, actual) => v.results.fail("evidence.id", `${c.folder}/${file}`, expected, actual);
  const wanted = new Map([["population.jsonl", { sha256: c.record.population }]]);
  if (new Set(c.record.raw.map((r) => r.name)).size !== c.record.raw.length) fail("evidence.json", "each reply by a name of its own", "a name twice");
  for (const r of rawPaths(c.record.raw)) wanted.set(r.path, r);
  for (const [file, want] of wanted) {
    const line = c.files.get(file);
    if (!line) {
      if (isWithheld(v.manifest, `${c.folder}/${file}`)) v.results.withhold("evidence.id", `${c.folder}/${file}`, "withheld");
      else fail(file, "a file that the record names", "missing");
    } else if (line.sha256 !== want.sha256 || (want.size !== undefined && line.size !== want.size)) {
      fail(file, `SHA-256 ${want.sha256}, as the record says`, `SHA-256 ${line.sha256}`);
    } else if (!v.archive.has(line.path)) fail(file, "a file that the record names", "missing");
    else if (want.size !== undefined && v.archive.byName.get(line.path).size !== want.size) fail(file, `${want.size} bytes, as the record says`, "another size");
  }
  for (const [file, line] of c.files) {
    if (file !== "evidence.json" && !wanted.has(file)) fail(file, "nothing but what the record names", "a file that it does not name");
    if (line.provenance !== c.id) fail(file, `provenance ${c.id} in the manifest`, line.provenance ?? "none");
    if (line.collectedAt !== c.record.collectedAt) fail(file, `collected_at ${textOfTime(c.record.collectedAt)} in the manifest`, line.collectedAt === undefined ? "none" : textOfTime(line.collectedAt));
    if (line.kind !== c.record.kind) fail(file, `kind ${c.record.kind} in the manifest`, line.kind ?? "none");
    if (line.window?.text !== c.record.window.text) fail(file, `window ${c.record.window.text} in the manifest`, line.window?.text ?? "none");
  }
}

/** rawPaths gives the replies of a record with the path of each below the collection's folder. */
export function rawPaths(raw) {
  const files = new Set();
  const folders = new Map(); // lower case to how it is written
  const foldersOf = (path) => {
    const parts = path.split("/");
    return parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join("/"));
  };
  const clashes = (path) => {
    const lower = lowerASCII(path);
    return files.has(lower) || folders.has(lower)
      || foldersOf(path).some((f) => files.has(lowerASCII(f)) || (folders.get(lowerASCII(f)) ?? f) !== f);
  };
  const next = new Map(); // number to try, by what stands before it; those below are taken
  return [...raw].sort((a, b) => compareText(a.name, b.name)).map((r) => {
    let path = escapePath(r.name);
    if (clashes(path)) {
      const segment = escapeSegment(r.name);
      const lower = lowerASCII(segment);
      let n = next.get(lower) ?? 2;
      while (clashes(`${segment}~~${n}`)) n++;
      next.set(lower, n + 1);
      path = `${segment}~~${n}`;
    }
    files.add(lowerASCII(path));
    for (const f of foldersOf(path)) folders.set(lowerASCII(f), f);
    return { ...r, path: `raw/${path}` };
  });
}

function checkPeriod(v, c, path) {
  const { collectedAt, window } = c.record;
  const { period } = v.root;
  const overlaps = window.from < period.to && window.to > period.from;
  const inTime = collectedAt >= period.from && collectedAt < period.to + 7n * day;
  if (!overlaps && !inTime) {
    v.results.fail("evidence.window", path, "of the period, or collected in it or less than 7 days after", `collected ${textOfTime(collectedAt)}, window ${window.text}`);
  }
  if (collectedAt < window.from) v.results.fail("evidence.window", path, `collected after its window began, ${textOfTime(window.from)}`, textOfTime(collectedAt));
}

function checkLabel(v, c, path) {
  if (c.record.origin !== "live" && !v.root.sample) v.results.fail("sample.label", path, "sample in pack.json: this collection is not live", "not said");
  if (c.record.clock !== "system" && !v.root.clock) v.results.fail("sample.label", path, "clock in pack.json: this collection's clock is not the system's", "not said");
}
