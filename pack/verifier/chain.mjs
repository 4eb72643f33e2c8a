// The last accepted pack, and what a pack owes it (FORMAT.md, section 10).

import { compareText, hexOf, isHex, refuse, utf8 } from "./bytes.mjs";
import { canonical, inWords, members } from "./json.mjs";
import { checkCount, checkLog, checkText } from "./packjson.mjs";
import { sha256 } from "./sha256.mjs";
import { periodOf, textOfTime } from "./times.mjs";

const format = "trustpack-accepted/1";

/** parseState reads the object that a verifier keeps. */
export function parseState(v) {
  members(v, "state", ["format", "logs", "organisation", "pack_json_sha256", "period", "sequence", "system"]);
  if (v.format !== format) refuse(`state: format ${inWords(v.format)}, want ${format}`);
  checkText(v.organisation, "state.organisation");
  checkText(v.system, "state.system");
  if (!isHex(v.pack_json_sha256, 32)) refuse("state.pack_json_sha256 is not a SHA-256 in hex");
  checkCount(v.sequence, "state.sequence", 1);
  if (!Array.isArray(v.logs)) refuse("state.logs is not an array");
  v.logs.forEach((l, i) => checkLog(members(l, `state.logs[${i}]`, ["origin", "root", "size"]), `state.logs[${i}]`));
  return { ...v, period: periodOf(v.period, "state.period") };
}

/** stateFile is what is to be kept of a pack that was accepted, and under which name. */
export function stateFile(v) {
  const { organisation, system, period, sequence } = v.root;
  const text = canonical({
    format,
    logs: v.logs.map((l) => ({ origin: l.origin, root: l.root, size: l.size })).sort((a, b) => compareText(a.origin, b.origin)),
    organisation,
    pack_json_sha256: v.packHash,
    period: { from: textOfTime(period.from), to: textOfTime(period.to) },
    sequence,
    system,
  });
  const name = hexOf(sha256(utf8(`${organisation}\0${system}`))).slice(0, 16) + ".json";
  return { name, text };
}

/** checkChain holds the pack to the state. v.heads has for each origin the heads of one proved line of growth. */
export function checkChain(v) {
  const { root, results } = v;
  const kept = v.anchors.state;
  if (!kept) return results.skip("chain", "", "no state was given: nothing is known of the pack before");
  if (kept.organisation !== root.organisation || kept.system !== root.system) {
    return results.skip("chain", "", `the state knows no pack of ${root.organisation}, ${root.system}`);
  }
  if (kept.pack_json_sha256 === v.packHash) return results.pass("chain", `the very pack accepted last, number ${kept.sequence}`);
  const fail = (path, expected, actual) => results.fail("chain", path, expected, actual);
  if (root.sequence !== kept.sequence + 1) fail("pack.json", `sequence ${kept.sequence + 1}, after the pack accepted last`, `sequence ${root.sequence}`);
  if (root.previous !== kept.pack_json_sha256) fail("pack.json", `previous ${kept.pack_json_sha256}`, root.previous ? `previous ${root.previous}` : "no previous");
  if (root.period.from < kept.period.from) {
    fail("pack.json", `a period that begins at ${textOfTime(kept.period.from)} or later`, `one that begins at ${textOfTime(root.period.from)}`);
  }
  for (const log of kept.logs) checkKeptLog(v, log, fail);
  if (results.clear("chain")) results.pass("chain", `follows the pack accepted last, number ${kept.sequence}`);
  return undefined;
}

function checkKeptLog(v, log, fail) {
  const here = v.logs.find((l) => l.origin === log.origin);
  if (!here) return fail("data/log/logs.jsonl", `the log ${log.origin}, as in the pack accepted last`, "missing");
  if (here.size < log.size) return fail("data/log/logs.jsonl", `${log.origin} with ${log.size} entries or more`, `${here.size} entries`);
  if (log.size === 0) return undefined; // from nothing grows any log
  const line = v.heads.get(log.origin);
  const heads = (line?.heads ?? []).filter((h) => h.size === log.size);
  if (heads.length === 0) {
    return fail(line?.folder ?? "data/log", `a checkpoint of ${log.origin} at ${log.size} entries, as accepted`, "none: it is not proved to have grown from what was accepted");
  }
  const other = heads.find((h) => h.root !== log.root);
  if (other) return fail(line.folder, `root ${log.root} of ${log.origin} at ${log.size} entries, as accepted`, `root ${other.root}: a fork`);
  if (!line.proved) return fail(line.folder, `proof that ${log.origin} grew from what was accepted`, "its proofs do not hold");
  return undefined;
}
