// Names of files in a pack, and their order (FORMAT.md, section 1).

import { compareText, hexOf, lowerASCII, utf8 } from "./bytes.mjs";
import { sha256 } from "./sha256.mjs";

const allowed = /^[A-Za-z0-9._@+=,~-]+$/;
const device = /^(con|prn|aux|nul|com[1-9]|lpt[1-9])$/i;

/** faultOfName says what is wrong with a name, or null. */
export function faultOfName(name) {
  if (name === "") return "empty";
  if (name.length > 1000) return "over 1000 bytes";
  for (const segment of name.split("/")) {
    if (segment === "") return "an empty segment: absolute, doubled or trailing slash";
    if (segment === "." || segment === "..") return `a segment ${segment}`;
    if (!allowed.test(segment)) return "a character that may not be in a name";
    if (segment.length > 200) return "a segment over 200 bytes";
    if (segment.endsWith(".")) return "a segment that ends in a dot";
    if (device.test(segment.split(".")[0])) return "a segment that is a device's name";
  }
  return null;
}

/** escapeSegment makes a segment of a name from any text. */
export function escapeSegment(text) {
  if (text === "") return "~";
  const bytes = utf8(text);
  let out = "";
  bytes.forEach((b, i) => {
    const c = String.fromCharCode(b);
    const dotAtEnd = c === "." && (i === bytes.length - 1 || text === "..");
    out += allowed.test(c) && c !== "~" && !dotAtEnd ? c : tilde(b);
  });
  if (device.test(out.split(".")[0])) out = tilde(out.charCodeAt(0)) + out.slice(1);
  if (out.length > 120) out = out.slice(0, 106) + "~-" + hexOf(sha256(bytes)).slice(0, 12);
  return out;
}

function tilde(b) {
  return "~" + b.toString(16).padStart(2, "0");
}

/** escapePath escapes each segment of a text with slashes. */
export function escapePath(text) {
  return text.split("/").map(escapeSegment).join("/");
}

const places = [
  "README.txt", "pack.json", "signatures/", "manifest.jsonl", "bagit.txt", "bag-info.txt",
  "manifest-sha256.txt", "tagmanifest-sha256.txt", "data/", "trust/",
];

/** placeOf gives where a name stands in the order of the archive; what may not be there comes last. */
function placeOf(name) {
  const place = places.findIndex((p) => (p.endsWith("/") ? name.startsWith(p) && name.length > p.length : name === p));
  return place < 0 ? places.length : place;
}

/**
 * faultsOfNames holds the names of an archive to section 1: their form, that
 * no two are one on any disk, and their order. It gives {name, why} each.
 */
export function faultsOfNames(names) {
  const faults = [];
  const files = new Map(); // lower case to the name
  const folders = new Map(); // lower case to the folder as first written
  let before = null;
  for (const name of names) {
    const fault = faultOfName(name);
    if (fault) {
      faults.push({ name, why: fault });
      continue;
    }
    const lower = lowerASCII(name);
    if (files.has(lower)) {
      const twin = files.get(lower);
      faults.push({ name, why: twin === name ? "the name stands twice" : `equal to ${twin} but for case` });
      continue;
    }
    if (folders.has(lower)) faults.push({ name, why: "a file and a folder have one name" });
    files.set(lower, name);
    for (let at = name.indexOf("/"); at >= 0; at = name.indexOf("/", at + 1)) {
      const folder = name.slice(0, at);
      const lowerFolder = lower.slice(0, at);
      if (files.has(lowerFolder)) faults.push({ name, why: `a folder of it, ${folder}, is a file` });
      const known = folders.get(lowerFolder);
      if (known === undefined) folders.set(lowerFolder, folder);
      else if (known !== folder) faults.push({ name, why: `its folder is equal to ${known} but for case` });
    }
    const place = placeOf(name);
    if (before && (place < before.place || (place === before.place && compareText(name, before.name) <= 0))) {
      faults.push({ name, why: `out of order: it stands after ${before.name}` });
    }
    before = { name, place };
  }
  return faults;
}
