// manifest.jsonl (FORMAT.md, section 4): read line by line, each line a leaf.

import { bytesOfHex, compareText, hexOf, isHex, refuse, textOf, FormError } from "./bytes.mjs";
import { members, parseCanonical } from "./json.mjs";
import { collectionFile, controlFile, stages } from "./layout.mjs";
import { faultOfName } from "./names.mjs";
import { checkCount } from "./packjson.mjs";
import { periodOf, timeOf } from "./times.mjs";
import { Tree, leafHash } from "./tree.mjs";

const longestLine = 65536;
const longestBody = 0xfffffffe; // bytes of a file

/** Manifest is what the lines say. */
class Manifest {
  constructor() {
    this.files = new Map(); // path to line, in order
    this.redacted = []; // {index, leaf, after, before, class?}: redacted lines and the paths that they stand between
    this.tree = new Tree();
    this.bytes = 0;
    this.evidence = 0;
    this.controls = 0;
    this.lastCollected = null; // latest collected_at
  }
}

/** readManifest reads the file; every fault goes to fault(line, path, why), line from 1. */
export async function readManifest(lines, fault) {
  const m = new Manifest();
  let number = 0;
  let before = null;
  for await (const { bytes, ended } of lines) {
    number++;
    if (bytes.length > longestLine) {
      fault(number, "", `a line of more than ${longestLine} bytes`);
      return m;
    }
    if (!ended) fault(number, "", "the last line does not end in a newline");
    let path = "";
    try {
      const line = parseCanonical(textOf(bytes, "it"));
      if (line && "leaf" in Object(line) && Object.keys(line).length === 1) {
        if (!isHex(line.leaf, 32)) refuse("a redacted line's leaf is not a hash in hex");
        m.redacted.push({ index: number - 1, leaf: line.leaf, after: before, before: null });
        m.tree.add(bytesOfHex(line.leaf));
        continue;
      }
      m.tree.add(leafHash(bytes));
      path = typeof line?.path === "string" ? line.path : "";
      const file = checkLine(line);
      if (before !== null && compareText(before, path) >= 0) refuse(`out of order, or twice: it stands after ${before}`);
      for (let i = m.redacted.length - 1; i >= 0 && m.redacted[i].before === null; i--) m.redacted[i].before = path;
      before = path;
      count(m, file);
      m.files.set(path, file);
    } catch (err) {
      if (!(err instanceof FormError)) throw err;
      if (m.tree.size < number) m.tree.add(leafHash(bytes));
      fault(number, path, err.message);
    }
  }
  return m;
}

/**
 * isWithheld tells whether a redacted line may be that of a path: it stands
 * where that path's line would.
 */
export function isWithheld(m, path) {
  return m.redacted.some((r) => standsAround(r, path));
}

function standsAround(r, path) {
  return (r.after === null || compareText(r.after, path) < 0) && (r.before === null || compareText(path, r.before) < 0);
}

/** withholdsIn tells whether a file below a folder may be withheld, by its class where one is said, else by its place. */
export function withholdsIn(m, folder) {
  return m.redacted.some((r) => (r.class ? r.class.startsWith(folder) : standsAround(r, folder) || r.after?.startsWith(folder) || r.before?.startsWith(folder)));
}

function count(m, file) {
  m.bytes += file.size;
  if (collectionFile(file.path)?.file === "evidence.json") m.evidence++;
  if (controlFile(file.path)?.file === "control.json") m.controls++;
  if (file.collectedAt !== undefined && (m.lastCollected === null || file.collectedAt > m.lastCollected)) m.lastCollected = file.collectedAt;
}

function checkLine(line) {
  members(line, "the line", ["media_type", "path", "salt", "sha256", "size"],
    ["collected_at", "controls", "derived_from", "kind", "provenance", "stage", "window"]);
  const fault = typeof line.path === "string" ? faultOfName(line.path) : "not a text";
  if (fault) refuse(`path: ${fault}`);
  if (line.path !== "README.txt" && !/^(data|trust)\//.test(line.path)) refuse("a path that has no line");
  if (checkCount(line.size, "size") > longestBody) refuse("size is more than a file may have");
  if (!isHex(line.sha256, 32)) refuse("sha256 is not a SHA-256 in hex");
  if (!isHex(line.salt, 16)) refuse("salt is not 16 bytes in hex");
  if (typeof line.media_type !== "string" || line.media_type === "") refuse("media_type is empty");
  if ("stage" in line && !stages.includes(line.stage)) refuse("stage is none of the five");
  if ("kind" in line && (typeof line.kind !== "string" || line.kind === "")) refuse("kind is there and is empty");
  for (const key of ["controls", "derived_from"]) {
    if (key in line) checkList(line[key], key);
  }
  const file = {
    path: line.path, size: line.size, sha256: line.sha256, mediaType: line.media_type, stage: line.stage,
    kind: line.kind, controls: line.controls, derivedFrom: line.derived_from,
  };
  if ("collected_at" in line) file.collectedAt = timeOf(line.collected_at, "collected_at");
  if ("window" in line) file.window = periodOf(line.window, "window");
  if ("provenance" in line) {
    if (!isHex(line.provenance, 32)) refuse("provenance is not a SHA-256 in hex");
    file.provenance = line.provenance;
  }
  return file;
}

function checkList(list, what) {
  if (!Array.isArray(list) || list.length === 0) refuse(`${what} is there and is empty`);
  list.forEach((text, i) => {
    if (typeof text !== "string") refuse(`${what} holds what is not a text`);
    if (i > 0 && compareText(list[i - 1], text) >= 0) refuse(`${what} is not sorted`);
  });
}

/** checkTotals holds the manifest to pack.json; fault(expected, actual) for each difference. */
export function checkTotals(m, root, fault) {
  const totals = root.totals;
  const lines = m.tree.size;
  if (lines !== totals.files) fault(`${totals.files} lines`, `${lines} lines`);
  const short = m.redacted.length > 0;
  if (short ? m.bytes > totals.bytes : m.bytes !== totals.bytes) fault(`${totals.bytes} bytes${short ? " at most" : ""}`, `${m.bytes} bytes`);
  if (m.evidence !== totals.evidence) fault(`${totals.evidence} collections`, `${m.evidence} collections`);
  if (m.controls !== totals.controls) fault(`${totals.controls} controls`, `${m.controls} controls`);
}

/** rootOf is the tree's root in hex. */
export function rootOf(m) {
  return hexOf(m.tree.root());
}
