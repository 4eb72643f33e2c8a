// A second verifier of packs, written from FORMAT.md and from nothing else. It
// runs in a browser and in Node, reads the pack piece by piece, and asks no
// network. What it leaves to the Go verifier it says: findings.reevaluated and
// derived.files.

import { parseAnchors } from "./anchors.mjs";
import { CannotRead, scanArchive } from "./archive.mjs";
import { bagitFiles, derivedDigests } from "./bagit.mjs";
import { clean, hexOf, refuse } from "./bytes.mjs";
import { checkChain, stateFile } from "./chain.mjs";
import { checkCollections, gatherCollections } from "./evidence.mjs";
import { Archive, attempt } from "./files.mjs";
import { checkFindings } from "./findings.mjs";
import { MissingCrypto } from "./keys.mjs";
import { signatureFile } from "./layout.mjs";
import { checkLogs } from "./logs.mjs";
import { checkTotals, readManifest, rootOf } from "./manifest.mjs";
import { faultsOfNames } from "./names.mjs";
import { parsePackJSON, roles } from "./packjson.mjs";
import { checkRedactions } from "./redaction.mjs";
import { Results } from "./report.mjs";
import { checkSamples } from "./sample.mjs";
import { sha256 } from "./sha256.mjs";
import { checkMathematics, checkRoles, judgeSignatures, readBundles } from "./signatures.mjs";
import { nameOfPeriod } from "./times.mjs";
import { checkTimestamps } from "./timestamp.mjs";

const packPath = "pack.json";
const manifestPath = "manifest.jsonl";

/** Verification is one pack being verified: what was given, what was read, what was found. */
class Verification {
  constructor(source, { tick, signal }) {
    this.source = source;
    this.signal = signal;
    this.tick = tick;
    this.results = new Results();
    this.genTimes = new Map(); // path of a bundle to the time that its timestamp proves
    this.digests = new Map(); // name to hex SHA-256, for what is compared later
    this.withheld = []; // {class, reason, by, signed, files} of the redactions
    this.wrong = new Set(); // files that are missing, or not what the manifest says
  }

  /** read gives a file of the manifest, and refuses one that is not what it says. */
  async read(path, limit) {
    if (this.wrong.has(path)) refuse("it is not what the manifest says, or not there");
    if (!this.manifest.files.has(path)) refuse("it is not in the manifest");
    return this.archive.read(path, limit);
  }

  /** crypto runs a verification; undefined, and the check left open, where the browser cannot do it. */
  async crypto(id, path, fn) {
    try {
      return await fn();
    } catch (err) {
      if (!(err instanceof MissingCrypto)) throw err;
      this.results.skip(id, path, err.message);
      return undefined;
    }
  }
}

/**
 * verify checks a pack. source has name, size and read(offset, length), which
 * gives a promise of bytes; anchors is the object of anchors.mjs. progress is
 * called with the bytes read so far; signal cancels. It gives the report and,
 * where the verdict is ok, the file in which the pack is kept as accepted:
 * {report, accepted: {name, text} or null}.
 */
export async function verify(source, anchors, { progress = () => {}, signal } = {}) {
  const v = new Verification(source, { tick: ticker(progress, signal), signal });
  v.anchors = await attempt(() => parseAnchors(anchors), (why) => v.results.fail("options", "", "anchors that make sense", why));
  try {
    if (v.anchors) await run(v);
  } catch (err) {
    if (!(err instanceof CannotRead)) throw err;
    v.results.fail("options", "", "a pack that can be read", err.message);
  }
  const report = reportOf(v);
  return { report, accepted: report.exit === 0 ? stateFile(v) : null };
}

/** ticker counts bytes and now and then lets the page breathe. */
function ticker(progress, signal) {
  let done = 0;
  let last = performance.now();
  return async (bytes) => {
    done += bytes;
    if (performance.now() - last < 40) return;
    progress(done);
    await new Promise((resolve) => setTimeout(resolve));
    last = performance.now();
    signal?.throwIfAborted();
  };
}

async function run(v) {
  const { results } = v;
  checkKeys(v);
  const entries = await attempt(() => scanArchive(v.source, v.tick, v.signal), (why) => results.fail("zip.layout", "", "the one form of an archive, section 1 of FORMAT.md", why));
  if (!entries) return;
  v.archive = new Archive(v.source, entries, v.signal);
  for (const { name, why } of faultsOfNames(entries.map((e) => e.name))) results.fail("zip.names", name, "names as section 1 of FORMAT.md has them", why);
  if (results.clear("zip.names")) results.pass("zip.names", "plain, distinct, in order");
  if (!(await readPackJSON(v))) return;
  await readBundles(v);
  await checkMathematics(v);
  if (!v.root) return;
  await readLines(v);
  await checkTimestamps(v);
  judgeSignatures(v);
  checkRoles(v);
  await checkFiles(v);
  if (!v.manifest) return;
  await checkRedactions(v);
  gatherCollections(v);
  await checkCollections(v);
  await checkFindings(v);
  await checkLogs(v);
  if (results.clear("sample.label")) results.pass("sample.label", labelsOf(v.root) || "nothing is sample data, and no clock simulated");
  checkChain(v);
  await checkSamples(v);
  results.skip("findings.reevaluated", "", "this verifier does not judge controls: trustpack verify does");
  results.skip("derived.files", "", "this verifier makes no report or workbook again: trustpack verify does");
}

function checkKeys(v) {
  const keys = [...new Set(v.anchors.keys.filter((k) => k.role === "vendor").map((k) => k.key.fingerprint))];
  if (keys.length > 0) v.results.pass("anchor.keys", `${keys.length} pinned for the vendor, ${keys.join(", ")}`);
  else v.results.skip("anchor.keys", "", "no key of the vendor was given: who made this pack cannot be told");
}

async function readPackJSON(v) {
  const fail = (why) => v.results.fail("pack.json", packPath, "pack.json as section 3 of FORMAT.md has it", why);
  v.packBytes = await attempt(() => v.archive.read(packPath, 1 << 20), fail);
  if (!v.packBytes) return false;
  v.packHash = hexOf(sha256(v.packBytes));
  v.root = await attempt(() => parsePackJSON(v.packBytes), fail);
  if (v.root) v.results.pass("pack.json", `SHA-256 ${v.packHash}`);
  return true;
}

/** readLines reads the manifest and makes the checks manifest and tree.root. */
async function readLines(v) {
  const { results, root } = v;
  if (!v.archive.has(manifestPath)) {
    results.fail("manifest", manifestPath, "the manifest", "missing");
    return;
  }
  const manifest = await readManifest(v.archive.lines(manifestPath, 65537), (line, path, why) => {
    results.fail("manifest", manifestPath, "lines as section 4 of FORMAT.md has them", `line ${line}${path ? `, ${path}` : ""}: ${why}`);
  });
  if (results.clear("manifest")) {
    v.manifest = manifest; // a list that cannot be read in full says nothing about files
    if (!manifest.files.has("README.txt")) results.fail("manifest", manifestPath, "a line for README.txt", "there is none");
    checkTotals(manifest, root, (expected, actual) => results.fail("manifest", manifestPath, `${expected}, as pack.json says`, actual));
  }
  if (results.clear("manifest")) results.pass("manifest", `${manifest.tree.size} lines`);
  const rootHex = rootOf(manifest);
  if (rootHex === root.tree.root && manifest.tree.size === root.tree.size) results.pass("tree.root", `${rootHex} over ${root.tree.size} lines`);
  else results.fail("tree.root", manifestPath, `${root.tree.root} over ${root.tree.size} lines`, `${rootHex} over ${manifest.tree.size} lines`);
}

/** checkFiles reads every body once: CRCs, file.digest, file.set and derived.bagit. */
async function checkFiles(v) {
  const { results } = v;
  const files = v.manifest?.files ?? new Map();
  let bytes = 0;
  for await (const { entry, crc, sha256: digest } of v.archive.digests(() => true, v.tick)) {
    const { name } = entry;
    if (crc !== entry.crc) results.fail("zip.layout", name, `CRC-32 ${hex32(entry.crc)}`, hex32(crc));
    if (!name.startsWith("data/")) v.digests.set(name, digest);
    bytes += entry.size;
    const line = files.get(name);
    if (!line) continue;
    if (line.size !== entry.size || line.sha256 !== digest) v.wrong.add(name);
    if (line.size !== entry.size) results.fail("file.digest", name, `${line.size} bytes`, `${entry.size} bytes`);
    else if (line.sha256 !== digest) results.fail("file.digest", name, `SHA-256 ${line.sha256}`, `SHA-256 ${digest}`);
  }
  if (results.clear("zip.layout")) results.pass("zip.layout", `${v.archive.entries.length} entries, ${v.source.size} bytes`);
  if (!v.manifest) return;
  if (results.clear("file.digest")) results.pass("file.digest", `${files.size} files, ${bytes} bytes`);
  checkSet(v, files);
  checkBagit(v, files);
}

function hex32(n) {
  return n.toString(16).padStart(8, "0");
}

const pathOf = {
  redaction: (n) => `signatures/redaction-${n}.jsonl`,
  sample: (n) => `signatures/sample-${n}.json`,
  ...Object.fromEntries(roles.map((role) => [role, (n) => `signatures/${role}-${n}.sigstore.json`])),
};

function checkSet(v, files) {
  const { results, archive } = v;
  for (const path of files.keys()) {
    if (archive.has(path)) continue;
    v.wrong.add(path);
    results.fail("file.set", path, "a file that the manifest lists", "missing");
  }
  const numbers = new Map();
  for (const e of archive.entries) {
    const { name } = e;
    if (files.has(name) && archive.byName.get(name) !== e) {
      results.fail("file.set", name, "each file once", "it stands here again");
    } else if (name.startsWith("signatures/")) {
      const file = signatureFile(name);
      if (!file) results.fail("file.set", name, "names of section 6 of FORMAT.md", "another name");
      else if (["redaction", "sample"].includes(file.what)) {
        numbers.set(file.role, [...(numbers.get(file.role) ?? []), file.n]);
      } else if (file.what === "timestamp" && !archive.has(name.replace(/\.tsr$/, ".sigstore.json"))) {
        results.fail("file.set", name, "a timestamp beside its bundle", "the bundle is missing");
      }
    } else if (!files.has(name) && name !== packPath && name !== manifestPath && !bagitFiles.includes(name)) {
      results.fail("file.set", name, "nothing but what the manifest lists", "a file that it does not list");
    }
  }
  for (const [what, list] of numbers) {
    list.sort((a, b) => a - b);
    const gap = list.findIndex((n, i) => n !== i + 1);
    const id = what === "redaction" ? "file.set" : what === "sample" ? "sample.drawn" : `sig.${what}`;
    if (gap >= 0) results.fail(id, pathOf[what](list[gap]), "numbers from 1 without a gap", `${pathOf[what](gap + 1)} is missing`);
  }
  if (results.clear("file.set")) results.pass("file.set", "none missing, none added");
}

function checkBagit(v, files) {
  const { results, archive } = v;
  const want = derivedDigests(v.root, files.values(), v.digests);
  for (const name of bagitFiles) {
    if (!archive.has(name)) results.fail("derived.bagit", name, `a file with SHA-256 ${want.get(name)}`, "missing");
    else if (v.digests.get(name) !== want.get(name)) results.fail("derived.bagit", name, `SHA-256 ${want.get(name)}, as derived`, `SHA-256 ${v.digests.get(name)}`);
  }
  if (results.clear("derived.bagit")) results.pass("derived.bagit", "as derived from the manifest");
}

function labelsOf(root) {
  return [root.sample ? "SAMPLE DATA" : "", root.clock ? "SIMULATED CLOCK" : ""].filter(Boolean).join(", ");
}

/** reportOf gives the report in the shape of "trustpack verify --json". */
function reportOf(v) {
  const report = { pack: clean(v.source.name), ...v.results.verdict() };
  if (v.root) {
    report.organisation = clean(v.root.organisation);
    report.system = clean(v.root.system);
    report.period = nameOfPeriod(v.root.period);
    report.sequence = v.root.sequence;
    report.pack_json_sha256 = v.packHash;
    if (v.root.sample) report.sample = true;
    if (v.root.clock) report.clock = v.root.clock;
  }
  if (v.withheld.length > 0) report.withheld = v.withheld;
  report.checks = v.results.list();
  return report;
}
