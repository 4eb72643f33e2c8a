// Redactions: every line that the manifest withholds, and what is signed of it
// (FORMAT.md, sections 4 and 6).

import { clean, hexOf, isHex, refuse, textOf } from "./bytes.mjs";
import { parseBundle } from "./bundle.mjs";
import { attempt } from "./files.mjs";
import { members, parseCanonical } from "./json.mjs";
import { signatureFile } from "./layout.mjs";
import { checkCount } from "./packjson.mjs";
import { sha256 } from "./sha256.mjs";
import { fitOf } from "./signatures.mjs";

const longestList = 1 << 28;

/** checkRedactions makes the check redaction. */
export async function checkRedactions(v) {
  const { results, manifest, archive } = v;
  const lists = archive.entries.map((e) => e.name).filter((n) => n.startsWith("signatures/") && ["redaction", "redaction-bundle"].includes(signatureFile(n)?.what));
  if (lists.length > 0 || manifest.redacted.length > 0) results.require("redaction");
  else return results.pass("redaction", "no line is withheld");

  const open = new Map(manifest.redacted.map((r) => [r.index, r]));
  for (const path of lists.filter((n) => n.endsWith(".jsonl"))) {
    const fail = (why) => results.fail("redaction", path, "a line for each line of the manifest that was taken out", why);
    await attempt(async () => {
      const bytes = await archive.read(path, longestList);
      const lines = parseLines(bytes);
      const taken = [];
      for (const l of lines) {
        if (open.get(l.index)?.leaf !== l.leaf) refuse(`line ${l.index} of the manifest is not withheld as ${l.leaf}, or stands here twice`);
        open.get(l.index).class = l.class;
        open.delete(l.index);
        taken.push(l);
      }
      const who = await checkStatement(v, path, lines.length, hexOf(sha256(bytes)));
      for (const l of taken) addWithheld(v, { class: clean(l.class), reason: clean(l.reason), by: clean(who?.identity ?? ""), signed: who?.signed === true, files: 1 });
    }, fail);
  }
  for (const path of lists.filter((n) => n.endsWith(".json"))) {
    if (!archive.has(path.replace(/\.sigstore\.json$/, ".jsonl"))) results.fail("redaction", path, "the list that it signs beside it", "missing");
  }
  for (const [index, { leaf }] of open) {
    results.fail("redaction", "manifest.jsonl", `a redaction that says why line ${index + 1} is withheld`, `none names ${leaf}`);
  }
  const said = v.withheld.map((w) => `${w.files} of ${w.class}: ${w.reason}`);
  if (results.clear("redaction")) results.pass("redaction", said.join("; "));
  return undefined;
}

/** addWithheld counts a file among those that are withheld alike. */
function addWithheld(v, w) {
  const same = v.withheld.find((x) => ["class", "reason", "by", "signed"].every((key) => x[key] === w[key]));
  if (same) same.files++;
  else v.withheld.push(w);
}

function parseLines(bytes) {
  const text = textOf(bytes, "it");
  if (!text.endsWith("\n")) refuse("the last line does not end in a newline");
  let before = -1;
  return text.slice(0, -1).split("\n").map((line) => {
    const l = members(parseCanonical(line), "the line", ["class", "index", "leaf", "reason"]);
    checkCount(l.index, "index");
    if (l.index <= before) refuse("lines are not sorted by index, each once");
    before = l.index;
    if (!isHex(l.leaf, 32)) refuse("leaf is not a hash in hex");
    if (typeof l.class !== "string" || l.class === "") refuse("class is empty");
    if (typeof l.reason !== "string" || l.reason === "") refuse("reason is empty");
    return l;
  });
}

/**
 * checkStatement verifies the bundle beside a list of redacted lines, under a
 * key given for any role. It gives who made it: {identity, signed}.
 */
async function checkStatement(v, listPath, count, digest) {
  const path = listPath.replace(/\.jsonl$/, ".sigstore.json");
  const fail = (expected, actual) => v.results.fail("redaction", path, expected, actual);
  const b = await attempt(async () => parseBundle(await v.archive.read(path, 65536), "redaction"), (why) => fail("a bundle over the redaction", why));
  if (!b) return undefined;
  const who = { identity: b.identity, signed: false };
  const wrong = [
    b.subject !== v.packHash && [`SHA-256 ${v.packHash} of pack.json`, `SHA-256 ${b.subject}`],
    b.predicate.count !== count && [`${b.predicate.count} lines`, `${count} lines`],
    b.predicate.sha256 !== digest && [`${listPath} with SHA-256 ${b.predicate.sha256}`, `SHA-256 ${digest}`],
  ].filter(Boolean);
  wrong.forEach(([expected, actual]) => fail(expected, actual));
  const anchors = v.anchors.keys.filter((k) => k.key.fingerprint === b.hint);
  if (anchors.length === 0) {
    v.results.skip("redaction", path, `no key was given that verifies it; it names ${b.hint}`);
    return who;
  }
  const holds = await v.crypto("redaction", path, () => anchors[0].key.verify(b.signed, b.signature));
  if (holds === false) fail("a signature that holds", "it does not hold");
  if (!holds) return who;
  const misfit = fitOf(v, anchors, b.identity, undefined);
  if (misfit?.failed) fail(misfit.expected, misfit.actual);
  else if (misfit) v.results.skip("redaction", path, misfit.actual);
  else who.signed = wrong.length === 0;
  return who;
}
