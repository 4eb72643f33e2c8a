// Tiles (c2sp.org/tlog-tiles, FORMAT.md, section 7): hashes of 256 subtrees each
// and bundles of 256 entries, proved from the root down.

import { equalBytes, refuse } from "./bytes.mjs";
import { attempt } from "./files.mjs";
import { withholdsIn } from "./manifest.mjs";
import { leafHash, nodeHash } from "./tree.mjs";

const width = 256;

/** nameOfTile writes N as the layout has it: x001/x234/067. */
function nameOfTile(n) {
  const digits = String(n).padStart(Math.ceil(String(n).length / 3) * 3, "0").match(/.{3}/g);
  return digits.map((d, i) => (i < digits.length - 1 ? "x" + d : d)).join("/");
}

/** readTileName reads <L>/<N>[.p/<W>] to {level, n, partial}, or null; level is "entries" for a bundle. */
function readTileName(text) {
  const m = /^(entries|0|[1-9][0-9]?)\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/.exec(text);
  if (!m) return null;
  const n = Number(m[2].replace(/[x/]/g, ""));
  if (!Number.isSafeInteger(n) || nameOfTile(n) !== m[2]) return null;
  return { level: m[1] === "entries" ? m[1] : Number(m[1]), n, partial: m[3] ? Number(m[3]) : 0 };
}

/** hashesAt is the number of whole subtrees of 256^level leaves. */
function hashesAt(size, level) {
  let n = size;
  for (let l = 0; l < level; l++) n = Math.floor(n / width);
  return n;
}

/** subtreeRoot is the root of hashes that are all of one height and a power of two in number. */
function subtreeRoot(hashes) {
  let level = hashes;
  while (level.length > 1) {
    const up = [];
    for (let i = 0; i < level.length; i += 2) up.push(nodeHash(level[i], level[i + 1]));
    level = up;
  }
  return level[0];
}

/** Tiles is the folder tile/ of one log. */
class Tiles {
  constructor(v, log) {
    this.v = v;
    this.log = log;
    this.prefix = `${log.folder}/tile/`;
    this.proved = new Map(); // path of a tile of hashes to its hashes, once proved
  }

  path(level, n) {
    const count = level === "entries" ? this.log.head.size : hashesAt(this.log.head.size, level);
    const partial = n === Math.floor(count / width) ? count % width : 0;
    return `${this.prefix}${level}/${nameOfTile(n)}${partial > 0 ? `.p/${partial}` : ""}`;
  }

  async readHashes(path, want) {
    const bytes = await this.v.read(path, width * 32);
    if (bytes.length !== want * 32) refuse(`${bytes.length} bytes, want ${want} hashes of 32`);
    return Array.from({ length: want }, (_, i) => bytes.subarray(32 * i, 32 * i + 32));
  }

  async readEntries(path, want) {
    const bytes = await this.v.read(path, width * 65537);
    const out = [];
    let at = 0;
    while (at < bytes.length) {
      if (at + 2 > bytes.length) refuse("the bundle ends early");
      const size = bytes[at] * 256 + bytes[at + 1];
      at += 2;
      if (at + size > bytes.length) refuse("the bundle ends early");
      out.push(bytes.subarray(at, at + size));
      at += size;
    }
    if (out.length !== want) refuse(`${out.length} entries, want ${want}`);
    return out;
  }

  /** edge gives the hashes of the right edge at a level, from the tile or, for leaves, from the bundle. */
  async edge(level, count) {
    const n = Math.floor(count / width);
    const path = this.path(level, n);
    if (this.v.archive.has(path)) {
      const hashes = await this.readHashes(path, count % width);
      this.proved.set(path, hashes);
      return hashes;
    }
    const bundle = this.path("entries", n);
    if (level !== 0 || !this.v.archive.has(bundle)) refuse(`it needs ${path}, which is missing`);
    return (await this.readEntries(bundle, count % width)).map(leafHash);
  }

  /** proveEdges puts the right edges of all levels together to the root. */
  async proveEdges() {
    const { size, hash } = this.log.head;
    let top = 0;
    while (hashesAt(size, top + 1) > 0) top++;
    const stack = []; // {height, hash}
    for (let level = top; level >= 0; level--) {
      const count = hashesAt(size, level);
      const hashes = count % width === 0 ? [] : await this.edge(level, count);
      for (let h of hashes) {
        let height = 8 * level;
        while (stack.length > 0 && stack.at(-1).height === height) {
          h = nodeHash(stack.pop().hash, h);
          height++;
        }
        stack.push({ height, hash: h });
      }
    }
    const root = stack.map((s) => s.hash).reduceRight((right, left) => nodeHash(left, right));
    if (!equalBytes(root, hash)) refuse("the right edges of the tiles do not give the checkpoint's root");
  }

  /** above gives what the level above says of the whole tile n of a level. */
  async above(level, n) {
    const path = this.path(level + 1, Math.floor(n / width));
    if (!this.proved.has(path)) {
      if (!this.v.archive.has(path)) refuse(`it needs ${path}, which is missing`);
      await this.proveTile(level + 1, Math.floor(n / width), path);
    }
    return this.proved.get(path)[n % width];
  }

  /** proveTile proves a tile of hashes; the partial ones are proved with the edges. */
  async proveTile(level, n, path) {
    if (this.proved.has(path)) return;
    const hashes = await this.readHashes(path, width);
    if (!equalBytes(subtreeRoot(hashes), await this.above(level, n))) refuse("it does not give what the tile above says");
    this.proved.set(path, hashes);
  }

  /** proveBundle proves a bundle and gives its entries. */
  async proveBundle(n, path, partial) {
    const entries = await this.readEntries(path, partial || width);
    const leaves = entries.map(leafHash);
    const tile = this.path(0, n);
    if (this.v.archive.has(tile)) {
      if (!partial) await this.proveTile(0, n, tile);
      if (!this.proved.get(tile)?.every((h, i) => equalBytes(h, leaves[i]))) refuse(`its entries are not those of ${tile}`);
    } else if (!partial && !equalBytes(subtreeRoot(leaves), await this.above(0, n))) refuse("its entries do not give what the tile above says");
    return entries; // a partial bundle without its tile was proved as the edge
  }
}

/** checkTiles proves every tile and bundle of a log, hands each entry to cite, and gives the number of files and of entries. */
export async function checkTiles(v, log, cite) {
  const tiles = new Tiles(v, log);
  const here = v.archive.entries.filter((e) => e.name.startsWith(tiles.prefix) && v.manifest.files.has(e.name) && log.owns(e.name));
  if (here.length === 0) return { files: 0, entries: 0 };
  const expected = `tiles of ${log.origin} that lead to its checkpoint`;
  const fail = (path) => (why) => v.results.fail("log.inclusion", path, expected, why);
  if (v.archive.entries.some((e) => e.name.startsWith(`${log.folder}/proofs/`) || e.name.startsWith(`${log.folder}/entries/`))) {
    fail(`${log.folder}/`)("it has proofs or entries as well, where it may have one of the two forms");
  }
  const bundles = `${tiles.prefix}entries/`;
  if (withholdsIn(v.manifest, bundles)) v.results.withhold("log.inclusion", bundles, "cited entries are withheld, in whole bundles");
  if (log.head.size === 0) {
    fail(here[0].name)("the log is empty");
    return { files: here.length, entries: 0 };
  }
  const edges = await attempt(async () => (await tiles.proveEdges(), true), fail(`${log.folder}/tile`));
  if (!edges) return { files: here.length, entries: 0 };
  let entries = 0;
  for (const e of here) {
    await v.tick(0);
    await attempt(async () => {
      const t = readTileName(e.name.slice(tiles.prefix.length));
      if (!t || e.name !== tiles.path(t.level, t.n)) refuse("no tile of a log of this size has this name");
      const count = t.level === "entries" ? log.head.size : hashesAt(log.head.size, t.level);
      if (t.n * width >= count) refuse("it lies beyond the log");
      if (t.level !== "entries") {
        if (t.partial === 0) await tiles.proveTile(t.level, t.n, e.name);
        return;
      }
      const proved = await tiles.proveBundle(t.n, e.name, t.partial);
      entries += proved.length;
      proved.forEach(cite);
    }, fail(e.name));
    for (const path of [...tiles.proved.keys()].slice(0, -64)) {
      if (/\/tile\/0\//.test(path)) tiles.proved.delete(path); // leaves' tiles are asked for once, side by side
    }
  }
  return { files: here.length, entries };
}
