// pack.json (FORMAT.md, section 3).

import { bytesOfBase64, isHex, isPrintable, refuse, utf8 } from "./bytes.mjs";
import { canonical, inWords, members, parseCanonicalBytes } from "./json.mjs";
import { periodOf } from "./times.mjs";

export const packFormat = "trustpack-pack/1";
export const roles = ["vendor", "reviewer", "auditor"];

/** checkText holds a text to 1 to 200 printable bytes without a space at either end. */
export function checkText(v, what) {
  if (typeof v !== "string" || v === "" || utf8(v).length > 200 || !isPrintable(v) || v !== v.trim()) {
    refuse(`${what} is not a printable text of 1 to 200 bytes`);
  }
  return v;
}

/** checkCount holds v to an integer from least up. */
export function checkCount(v, what, least = 0) {
  if (typeof v === "bigint") refuse(`${what} is beyond 2^53`);
  if (typeof v !== "number" || v < least) refuse(`${what} is not an integer from ${least} up`);
  return v;
}

function checkHash(v, what) {
  if (!isHex(v, 32)) refuse(`${what} is not a SHA-256 in hex`);
  return v;
}

function checkRoot(v, what) {
  if (bytesOfBase64(v, what).length !== 32) refuse(`${what} is not a hash in base64`);
}

/** checkLogMembers holds an object to the members and types of a line of logs.jsonl. */
function checkLogMembers(l, what) {
  members(l, what, ["origin", "root", "size"], ["previous_root", "previous_size"]);
  for (const key of ["origin", "root", "previous_root"]) {
    if (key in l && typeof l[key] !== "string") refuse(`${what}.${key} is not a text`);
  }
  checkCount(l.size, `${what}.size`);
  if ("previous_size" in l) checkCount(l.previous_size, `${what}.previous_size`, 1);
  return l;
}

/** checkLog holds a line of logs.jsonl to its form. */
export function checkLog(l, what) {
  checkLogMembers(l, what);
  if (l.origin === "") refuse(`${what}.origin is empty`);
  checkRoot(l.root, `${what}.root`);
  if ("previous_root" in l) checkRoot(l.previous_root, `${what}.previous_root`);
  return l;
}

/** parsePackJSON reads pack.json and adds nothing but period, with times, and text. */
export function parsePackJSON(bytes) {
  if (bytes.length > 4096) refuse(`${bytes.length} bytes, over 4096`);
  const v = parseCanonicalBytes(bytes, "pack.json");
  if (v && v.format !== undefined && v.format !== packFormat) refuse(`format ${inWords(v.format)}, which this verifier does not know`);
  members(v, "pack.json",
    ["catalog", "format", "organisation", "period", "required_roles", "sequence", "system", "tool", "totals", "tree"],
    ["clock", "logs", "logs_omitted", "previous", "sample"]);
  for (const key of ["organisation", "system", "tool"]) checkText(v[key], key);
  const period = periodOf(v.period, "period");
  if (period.from >= period.to) refuse("period ends before it begins");
  checkCount(v.sequence, "sequence", 1);
  if (v.sequence === 1 && "previous" in v) refuse("previous is there, and sequence is 1");
  if (v.sequence > 1 && !("previous" in v)) refuse(`previous is missing, and sequence is ${v.sequence}`);
  if ("previous" in v) checkHash(v.previous, "previous");
  if ("sample" in v && v.sample !== true) refuse("sample is there and is not true");
  if ("clock" in v && v.clock !== "simulated") refuse("clock is there and is not simulated");

  members(v.totals, "totals", ["bytes", "controls", "evidence", "files"]);
  for (const key of Object.keys(v.totals)) checkCount(v.totals[key], `totals.${key}`);
  members(v.tree, "tree", ["algorithm", "root", "size"]);
  if (v.tree.algorithm !== "rfc6962-sha256") refuse("tree.algorithm is not rfc6962-sha256");
  checkHash(v.tree.root, "tree.root");
  checkCount(v.tree.size, "tree.size");
  if (v.tree.size !== v.totals.files) refuse(`tree.size is ${v.tree.size}, totals.files ${v.totals.files}`);

  members(v.catalog, "catalog", ["framework", "sha256"]);
  if (typeof v.catalog.framework !== "string") refuse("catalog.framework is not a text");
  if (v.catalog.sha256 !== "") checkHash(v.catalog.sha256, "catalog.sha256");
  if (!Array.isArray(v.required_roles)) refuse("required_roles is not an array");
  for (const [i, role] of v.required_roles.entries()) {
    if (!roles.includes(role)) refuse(`required_roles names ${canonical(role)}, which is no role`);
    if (v.required_roles.indexOf(role) !== i) refuse(`required_roles names ${role} twice`);
  }
  if (!v.required_roles.includes("vendor")) refuse("required_roles does not name the vendor");

  if ("logs" in v && (!Array.isArray(v.logs) || v.logs.length === 0)) refuse("logs is there and is empty");
  if ("logs_omitted" in v) checkCount(v.logs_omitted, "logs_omitted", 1);
  if ("logs" in v && "logs_omitted" in v) refuse("logs and logs_omitted are both there");
  (v.logs ?? []).forEach((l, i) => checkLogMembers(l, `logs[${i}]`));
  return { ...v, period };
}
