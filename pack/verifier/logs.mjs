// data/log/ (FORMAT.md, section 7): checkpoints, their growth, and the entries
// that are proved to be in them, by single proofs or by tiles.

import { FormError, base64Of, refuse, textOf, utf8 } from "./bytes.mjs";
import { attempt } from "./files.mjs";
import { canonical, parseCanonical, parseCanonicalBytes, parseJSON } from "./json.mjs";
import { isWithheld, withholdsIn } from "./manifest.mjs";
import { escapePath } from "./names.mjs";
import { cosignedBy, hashesOf, parseCheckpoint, parseProof, signedBy } from "./note.mjs";
import { checkLog } from "./packjson.mjs";
import { stepForm } from "./records.mjs";
import { checkTiles } from "./tiles.mjs";
import { emptyRoot, includes, isConsistent, leafHash } from "./tree.mjs";

const listPath = "data/log/logs.jsonl";
const longestFile = 1 << 26; // bytes of a history, or of an entry, that this verifier reads

/** checkLogs makes the four checks log.*, and leaves v.logs and v.heads for the chain. */
export async function checkLogs(v) {
  v.heads = new Map();
  v.cited = { collections: new Set(), any: false, withheld: false };
  const listed = await readList(v);
  v.logs = listed ?? [];
  if (listed) checkFolders(v);
  const counts = { signed: 0, steps: 0, entries: 0, cosigned: 0 };
  for (const l of v.logs) {
    await v.tick(0);
    const log = { ...l, folder: `data/log/${escapePath(l.origin)}`, key: v.anchors.logKeys.filter((k) => k.name === l.origin) };
    const within = v.logs.map((o) => `data/log/${escapePath(o.origin)}/`).filter((folder) => folder.startsWith(`${log.folder}/`) && folder.length > log.folder.length + 1);
    log.owns = (path) => !within.some((folder) => path.startsWith(folder)); // a file belongs to the log with the longest folder
    await checkHead(v, log, counts);
    if (!log.sound) continue; // what is proved to a wrong checkpoint says nothing
    await checkGrowth(v, log, counts);
    const single = await checkProofs(v, log);
    const tiled = await checkTiles(v, log, (entry) => noteEntry(v, log, entry));
    if (single.files > 0 && tiled.files > 0) v.results.fail("log.inclusion", log.folder, "proofs and entries, or tiles instead of them", "both");
    counts.entries += single.entries + tiled.entries;
    await checkWitnesses(v, log, counts);
  }
  for (const k of v.anchors.logKeys) {
    if (!v.logs.some((l) => l.origin === k.name)) v.results.fail("log.checkpoint", listPath, `the log ${k.name}, whose key was given`, "the pack has no such log");
  }
  checkCitedCollections(v);
  conclude(v, counts);
}

function conclude(v, counts) {
  const { results } = v;
  if (v.anchors.witnesses.length > 0 && counts.cosigned === 0) results.require("log.witness");
  if (v.logs.length === 0) {
    for (const id of ["log.checkpoint", "log.consistency", "log.inclusion", "log.witness"]) {
      if (results.clear(id)) results.skip(id, "", "the pack has no log");
    }
    return;
  }
  if (results.clear("log.checkpoint")) results.pass("log.checkpoint", `${counts.signed} signed by the keys given`);
  if (results.clear("log.consistency")) results.pass("log.consistency", `${v.logs.length} logs, ${counts.steps} steps`);
  if (results.clear("log.inclusion")) {
    if (counts.entries > 0) results.pass("log.inclusion", `${counts.entries} entries, ${v.cited.collections.size} of them of collections`);
    else if (!results.withheld.has("log.inclusion")) results.skip("log.inclusion", "", "the pack proves no entry");
  }
  if (v.anchors.witnesses.length === 0) results.skip("log.witness", "", "no key of a witness was given");
  else if (results.clear("log.witness")) results.pass("log.witness", `${counts.cosigned} cosignatures`);
}

/** readList reads logs.jsonl and holds pack.json to it. */
async function readList(v) {
  const { archive, results, root } = v;
  const fail = (expected, actual) => results.fail("log.checkpoint", listPath, expected, actual);
  const said = root.logs ?? [];
  if (!archive.has(listPath)) {
    if (said.length === 0 && !root.logs_omitted) return [];
    fail("the logs that pack.json names", "missing");
    return undefined;
  }
  const logs = await attempt(async () => {
    const text = textOf(await v.read(listPath, longestFile), "it");
    if (text !== "" && !text.endsWith("\n")) refuse("the last line does not end in a newline");
    return text.split("\n").slice(0, -1).map((line, i) => checkLog(parseCanonical(line), `line ${i + 1}`));
  }, (why) => fail("a canonical line for each log", why));
  if (!logs) return undefined;
  const origins = new Set();
  for (const l of logs) {
    if (origins.has(l.origin)) fail("each log once", `${l.origin} twice`);
    origins.add(l.origin);
  }
  if (root.logs_omitted !== undefined) {
    if (root.logs_omitted !== logs.length) fail(`${root.logs_omitted} logs, as pack.json says`, `${logs.length} logs`);
  } else if (canonical(said) !== canonical(logs)) fail(`the logs of pack.json: ${canonical(said)}`, canonical(logs));
  return logs.filter((l, i) => logs.findIndex((o) => o.origin === l.origin) === i);
}

/** checkHead reads checkpoint and checkpoint.prev and holds them to logs.jsonl and to the log's key. */
async function checkHead(v, log, counts) {
  log.sound = true;
  for (const [file, size, root] of [["checkpoint", log.size, log.root], ["checkpoint.prev", log.previous_size, log.previous_root]]) {
    const path = `${log.folder}/${file}`;
    const fail = (expected, actual) => {
      log.sound = false;
      v.results.fail("log.checkpoint", path, expected, actual);
    };
    if (!v.archive.has(path)) {
      if (file === "checkpoint" || size !== undefined || root !== undefined) fail("a checkpoint", "missing");
      continue;
    }
    const c = await attempt(async () => parseCheckpoint(await v.read(path, 1 << 20)), (why) => fail("a signed checkpoint", why));
    if (!c) continue;
    if (c.origin !== log.origin) fail(`origin ${log.origin}`, `origin ${c.origin}`);
    if (c.size !== (size ?? c.size + 1) || c.root !== root) fail(`size ${size ?? "none"}, root ${root ?? "none"}, as logs.jsonl says`, `size ${c.size}, root ${c.root}`);
    checkLabels(v, c, path);
    const signed = await checkSigned(v, log, c, path);
    if (signed === false) log.sound = false;
    if (signed && file === "checkpoint") counts.signed++;
    if (file === "checkpoint") log.head = c;
    else log.previous = c;
  }
}

/** isSigned asks for a signature by the log's keys; undefined where none was given, or the browser cannot. */
async function isSigned(v, log, c, path) {
  let signed;
  for (const key of log.key) {
    const holds = await v.crypto("log.checkpoint", path, () => signedBy(c.note, key));
    if (holds === undefined) return undefined;
    if (holds === false) return false;
    signed = signed || holds === true;
  }
  return signed;
}

/** checkSigned holds a checkpoint to the log's key, if one was given. */
async function checkSigned(v, log, c, path) {
  if (log.key.length === 0) {
    if (path.endsWith("/checkpoint")) v.results.skip("log.checkpoint", path, "no key of this log was given: its size and root rest on the vendor's signature alone");
    return undefined;
  }
  const signed = await isSigned(v, log, c, path);
  if (signed === false) v.results.fail("log.checkpoint", path, `signed by ${log.origin}`, "it is not, or the signature does not hold");
  return signed;
}

function checkLabels(v, c, path) {
  const words = c.extensions.flatMap((line) => line.split(/[\s\u0085]+/));
  if (words.includes("sample=true") && !v.root.sample) v.results.fail("sample.label", path, "sample in pack.json: the log holds sample data", "not said");
  if (words.includes("clock=simulated") && !v.root.clock) v.results.fail("sample.label", path, "clock in pack.json: the log's clock is simulated", "not said");
}

/** checkGrowth proves checkpoint.prev, each line of the history and checkpoint to be one growing tree. */
async function checkGrowth(v, log, counts) {
  const { archive, results } = v;
  const heads = [];
  let proved = true;
  const fail = (file, expected, actual) => {
    proved = false;
    results.fail("log.consistency", `${log.folder}/${file}`, expected, actual);
  };
  const begin = log.previous ?? { size: 0, hash: emptyRoot() };
  if (log.previous) heads.push(log.previous);
  const proof = await attempt(
    async () => hashesOf(parseCanonicalBytes(await v.read(`${log.folder}/consistency.json`, 1 << 20), "it") ?? []),
    (why) => fail("consistency.json", "an array of hashes", why),
  );
  if (proof && !isConsistent(begin.size, log.head.size, begin.hash, log.head.hash, proof)) {
    fail("consistency.json", `growth from ${begin.size} to ${log.head.size} entries`, "the proof does not hold");
  }
  counts.steps++;

  const history = `${log.folder}/checkpoints.jsonl`;
  let before = begin;
  let number = 0;
  if (v.wrong.has(history)) return fail("checkpoints.jsonl", "the history of the log", "it is not what the manifest says, or not there");
  const lines = archive.has(history) ? archive.lines(history, 1 << 20) : [];
  for await (const { bytes, ended } of lines) {
    number++;
    const step = await attempt(() => historyLine(bytes, ended), (why) => fail("checkpoints.jsonl", `line ${number}: a checkpoint`, why));
    if (!step) return undefined;
    const { c, proof: from } = step;
    if (c.origin !== log.origin) return fail("checkpoints.jsonl", `line ${number}: origin ${log.origin}`, `origin ${c.origin}`);
    checkLabels(v, c, history);
    if ((await isSigned(v, log, c, history)) === false) return fail("checkpoints.jsonl", `line ${number}: a note signed by ${log.origin}`, "it is not, or the signature does not hold");
    if (!isConsistent(before.size, c.size, before.hash, c.hash, from)) {
      fail("checkpoints.jsonl", `line ${number}: growth from ${before.size} to ${c.size} entries`, "the proof does not hold");
    }
    counts.steps++;
    heads.push(c);
    before = c;
  }
  if (number === 0 && !archive.has(history)) fail("checkpoints.jsonl", "the history of the log", "missing");
  else if (number > 0 && (before.size !== log.head.size || base64Of(before.hash) !== log.head.root)) {
    fail("checkpoints.jsonl", `a last line of ${log.head.size} entries, root ${log.head.root}`, `${before.size} entries, root ${base64Of(before.hash)}`);
  }
  heads.push(log.head);
  v.heads.set(log.origin, { folder: log.folder, heads: heads.map((h) => ({ size: h.size, root: h.root })), proved });
  return undefined;
}

function historyLine(bytes, ended) {
  if (!ended) refuse("it does not end in a newline");
  const line = parseCanonicalBytes(bytes, "the line");
  stepForm(line, "the line");
  const c = parseCheckpoint(utf8(line.note));
  if (c.size !== line.size || c.root !== line.root) refuse(`its note says size ${c.size}, root ${c.root}; the line ${line.size}, ${line.root}`);
  return { c, proof: hashesOf(line.consistency ?? []) };
}

/** checkProofs verifies proofs/ and entries/ and gives the number of files and of entries proved. */
async function checkProofs(v, log) {
  const proofs = filesOf(v, log, `${log.folder}/proofs/`, ".tlog-proof");
  const entries = new Set(filesOf(v, log, `${log.folder}/entries/`, ".entry").map((f) => f.index));
  let proved = 0;
  for (const { path, index } of proofs) {
    if (!v.archive.has(path)) continue; // which file.set says
    await v.tick(0);
    const fail = (why) => v.results.fail("log.inclusion", path, `proof of entry ${index} in ${log.origin}`, why);
    const proof = await attempt(async () => parseProof(await v.read(path, 1 << 20), log.head.bytes), fail);
    if (!proof) continue;
    if (String(proof.index) !== index) fail(`it is for the index ${proof.index}`);
    else if (!entries.has(index)) {
      const entry = `${log.folder}/entries/${index}.entry`;
      if (!isWithheld(v.manifest, entry)) fail("its entry is missing");
      else v.results.withhold("log.inclusion", entry, "it is withheld");
    } else {
      await attempt(async () => {
        const entry = await v.read(`${log.folder}/entries/${index}.entry`, longestFile);
        if (!includes(proof.index, log.head.size, leafHash(entry), proof.hashes, log.head.hash)) refuse("the proof does not hold");
        proved++;
        noteEntry(v, log, entry);
      }, fail);
    }
  }
  for (const index of entries) {
    if (!v.archive.has(`${log.folder}/proofs/${index}.tlog-proof`)) v.results.fail("log.inclusion", `${log.folder}/entries/${index}.entry`, "a proof", "missing");
  }
  return { files: proofs.length + entries.size, entries: proved };
}

function filesOf(v, log, prefix, suffix) {
  const out = [];
  for (const path of v.manifest.files.keys()) {
    if (path.startsWith(prefix) && path.endsWith(suffix) && log.owns(path)) out.push({ path, index: path.slice(prefix.length, -suffix.length) });
  }
  return out;
}

/** noteEntry remembers what a proved entry of a log of collections cites. */
function noteEntry(v, log, entry) {
  if (!log.origin.endsWith("/evidence")) return;
  try {
    const e = parseJSON(entry, "the entry");
    if (e?.type !== "evidence.collected") return;
    v.cited.any = true;
    v.cited.collections.add(e.id);
  } catch (err) {
    if (!(err instanceof FormError)) throw err; // an entry of another kind
  }
}

function checkCitedCollections(v) {
  const logs = v.logs.filter((l) => l.origin.endsWith("/evidence")).map((l) => `data/log/${escapePath(l.origin)}`);
  v.cited.withheld = logs.some((folder) => withholdsIn(v.manifest, `${folder}/entries/`) || withholdsIn(v.manifest, `${folder}/tile/entries/`));
  if (!v.cited.any && !v.cited.withheld) return;
  for (const c of v.collections.values()) {
    if (!c.id || v.cited.collections.has(c.id)) continue;
    const path = `${c.folder}/evidence.json`;
    if (v.cited.withheld) v.results.withhold("log.inclusion", path, "the entry of this collection may be among those withheld");
    else v.results.fail("log.inclusion", path, "a proved entry of the collection in the log of collections", "none");
  }
}

const logFile = /^(?:checkpoint|checkpoint\.prev|consistency\.json|checkpoints\.jsonl|proofs\/.*\.tlog-proof|entries\/.*\.entry|tile\/.*)$/;

/** checkFolders: data/log/ holds files of the logs, and no others. */
function checkFolders(v) {
  const folders = new Set(v.logs.map((l) => `data/log/${escapePath(l.origin)}`));
  for (const path of v.manifest.files.keys()) {
    if (!path.startsWith("data/log/") || path === listPath || !v.archive.has(path)) continue;
    let at = path.lastIndexOf("/");
    while (at > 0 && !folders.has(path.slice(0, at))) at = path.lastIndexOf("/", at - 1);
    if (at <= 0 || !logFile.test(path.slice(at + 1))) v.results.fail("file.set", path, "a file of a log of logs.jsonl", "another file");
  }
}

async function checkWitnesses(v, log, counts) {
  const path = `${log.folder}/checkpoint`;
  let cosigned = 0;
  for (const w of v.anchors.witnesses) {
    const holds = await v.crypto("log.witness", path, () => cosignedBy(log.head.note, w));
    if (holds === false) v.results.fail("log.witness", path, `a cosignature of ${w.name} that holds`, "it does not hold");
    else if (holds) cosigned++;
  }
  counts.cosigned += cosigned;
  if (cosigned === 0 && v.anchors.witnesses.length > 0) v.results.skip("log.witness", path, `no given witness has cosigned ${log.origin}`);
}

