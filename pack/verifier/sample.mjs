// Samples (FORMAT.md, section 9): drawn again by Rivest's sampler from the pack's
// own populations, with the auditor's digits.

import { compareText, hexOf, isHex, refuse, textOf, utf8 } from "./bytes.mjs";
import { samplePrefix } from "./bundle.mjs";
import { attempt } from "./files.mjs";
import { canonical, inWords, members, parseCanonicalBytes } from "./json.mjs";
import { signatureFile } from "./layout.mjs";
import { isWithheld } from "./manifest.mjs";
import { checkCount } from "./packjson.mjs";
import { Sha256, sha256 } from "./sha256.mjs";

const longestSample = 1 << 26;
const longestLine = 1 << 24;

/** pick is the i-th pick of the sampler among n, from 1. */
export function pick(key, i, n) {
  return 1 + Number(BigInt("0x" + hexOf(sha256(utf8(`${key},${i}`)))) % BigInt(n));
}

/** draw gives count distinct indices from 1 to n in the order drawn. */
export function draw(key, n, count) {
  const drawn = new Set();
  for (let i = 1; drawn.size < count; i++) drawn.add(pick(key, i, n));
  return [...drawn];
}

/** presetSize is how many are drawn of n where no number is asked for. */
export function presetSize(n) {
  if (n < 5) return n;
  if (n <= 50) return 5;
  return n <= 250 ? Math.ceil(n / 10) : 25;
}

/** drawSample draws from items, sorted by ID, as a sample's members say. */
export function drawSample(root, { seed, size, stratify }, items) {
  const key = root + seed;
  const wanted = (n) => Math.min(n, size === 0 ? presetSize(n) : size);
  if (!stratify) return draw(key, items.length, wanted(items.length)).map((index) => ({ id: items[index - 1].id, index }));
  const strata = new Map();
  for (const item of items) {
    if (!strata.has(item.stratum)) strata.set(item.stratum, []);
    strata.get(item.stratum).push(item);
  }
  return [...strata.keys()].sort(compareText).flatMap((stratum) => {
    const members = strata.get(stratum);
    return draw(`${key}/${stratify}=${stratum}`, members.length, wanted(members.length))
      .map((index) => ({ id: members[index - 1].id, index, ...(stratum === "" ? {} : { stratum }) }));
  });
}

/** checkSamples makes the check sample.drawn. */
export async function checkSamples(v) {
  const { archive, results } = v;
  const names = archive.entries.map((e) => e.name).filter((n) => n.startsWith("signatures/") && signatureFile(n)?.role === "sample");
  if (names.length === 0) return results.skip("sample.drawn", "", "the pack carries no sample");
  results.require("sample.drawn");
  const drawn = [];
  for (const path of names) {
    const fail = (why, expected = "a sample as section 9 of FORMAT.md has it") => results.fail("sample.drawn", path, expected, why);
    if (path.endsWith(".xlsx")) {
      if (!archive.has(path.replace(/\.xlsx$/, ".json"))) fail("the sample is missing", "a worksheet beside its sample");
      continue;
    }
    const bytes = await attempt(() => archive.read(path, longestSample), fail);
    const s = bytes && (await attempt(() => parseSample(bytes), fail));
    if (!s) continue;
    checkCitation(v, path, hexOf(sha256(bytes)));
    await checkWorksheet(v, path, s, fail);
    if (s.root !== v.root.tree.root) fail(`root ${s.root}`, `root ${v.root.tree.root}`);
    const items = await attempt(() => readPopulation(v, s), fail);
    if (!items) continue;
    const again = drawSample(s.root, s, items);
    if (canonical(again) !== canonical(s.drawn)) fail("another draw", `${again.length} items, first ${again[0]?.id ?? "none"}`);
    drawn.push(`${s.drawn.length} of ${s.population.size} ${s.population.kind}`);
  }
  if (results.clear("sample.drawn") && !results.withheld.has("sample.drawn")) results.pass("sample.drawn", drawn.join("; "));
  return undefined;
}

function parseSample(bytes) {
  const s = members(parseCanonicalBytes(bytes, "it"), "the sample",
    ["algorithm", "drawn", "format", "population", "root", "seed", "size"], ["stratify", "worksheet_sha256"]);
  if (s.format !== "trustpack-sample/1") refuse(`format ${inWords(s.format)}, which this verifier does not know`);
  if (s.algorithm !== "rivest-2011") refuse(`algorithm ${inWords(s.algorithm)}, which this verifier does not know`);
  members(s.population, "population", ["files", "kind", "sha256", "size"]);
  if (typeof s.population.kind !== "string" || !isHex(s.population.sha256, 32) || !isHex(s.root, 32)) refuse("population.kind, population.sha256 or root is not of its form");
  if (!Array.isArray(s.population.files)) refuse("population.files is not an array");
  checkCount(s.population.size, "population.size");
  checkCount(s.size, "size");
  if (!/^[0-9]{1,200}$/.test(typeof s.seed === "string" ? s.seed : "")) refuse("seed is not 1 to 200 digits");
  if ("stratify" in s && (typeof s.stratify !== "string" || s.stratify === "")) refuse("stratify is there and is empty");
  if ("worksheet_sha256" in s && !isHex(s.worksheet_sha256, 32)) refuse("worksheet_sha256 is not a SHA-256 in hex");
  if (!Array.isArray(s.drawn)) refuse("drawn is not an array");
  for (const d of s.drawn) members(d, "an item drawn", ["id", "index"], ["stratum"]);
  return s;
}

function checkCitation(v, path, digest) {
  const citing = v.bundles.filter((b) => b.role !== "vendor" && !b.elsewhere && b.predicate.properties.includes(samplePrefix + digest));
  if (citing.length === 0) v.results.fail("sample.drawn", path, "a reviewer's or auditor's signature that cites it", "none does");
  else if (!citing.some((b) => b.good)) v.results.skip("sample.drawn", path, `only ${citing.map((b) => b.path).join(", ")} cites it, which no given key verifies`);
}

async function checkWorksheet(v, path, s, fail) {
  const sheet = path.replace(/\.json$/, ".xlsx");
  const there = v.archive.has(sheet);
  if (!there && s.worksheet_sha256 === undefined) return;
  if (!there) fail("missing", sheet);
  else if (v.digests.get(sheet) !== s.worksheet_sha256) fail(`${sheet} with SHA-256 ${v.digests.get(sheet)}`, s.worksheet_sha256 ?? "no worksheet");
}

/** readPopulation gives the items that a sample is drawn from, {id, stratum}, sorted by ID; undefined where some are withheld. */
async function readPopulation(v, s) {
  const of = [...v.collections.values()].filter((c) => c.record?.kind === s.population.kind);
  const files = of.map((c) => ({ path: `${c.folder}/population.jsonl`, at: c.record.collectedAt })).sort((a, b) => compareText(a.path, b.path));
  if (canonical(files.map((f) => f.path)) !== canonical(s.population.files)) refuse(`the populations of ${s.population.kind} are other files than it says`);
  const held = files.filter((f) => !v.archive.has(f.path) && isWithheld(v.manifest, f.path));
  if (held.length > 0) {
    v.results.withhold("sample.drawn", held[0].path, "the population is withheld, so that nothing can be drawn again");
    return undefined;
  }
  const items = new Map();
  files.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : compareText(a.path, b.path)));
  for (const f of files) {
    if (v.wrong.has(f.path) || !v.archive.has(f.path)) refuse(`${f.path} is not what the manifest says`);
    for await (const { bytes } of v.archive.lines(f.path, longestLine)) {
      const item = parseItem(bytes, f.path);
      items.set(item.id, { id: item.id, stratum: s.stratify ? stratumOf(item, s.stratify) : "" });
    }
  }
  const sorted = [...items.values()].sort((a, b) => compareText(a.id, b.id));
  const hash = new Sha256();
  for (const item of sorted) hash.update(utf8(item.id + "\n"));
  if (sorted.length !== s.population.size) refuse(`the population has ${sorted.length} items, not ${s.population.size}`);
  if (hexOf(hash.digest()) !== s.population.sha256) refuse("the population's IDs have another digest");
  return sorted;
}

function parseItem(bytes, path) {
  let item;
  try {
    item = JSON.parse(textOf(bytes, path));
  } catch {
    refuse(`${path} has a line that is not JSON`);
  }
  if (typeof item?.id !== "string" || item.id === "") refuse(`${path} has an item without an ID`);
  return item;
}

function stratumOf(item, attribute) {
  if (!Object.hasOwn(item, attribute)) return "";
  const value = item[attribute];
  return typeof value === "string" ? value : canonical(value);
}

