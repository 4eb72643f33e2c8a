// Files of the archive: by name, line by line, and all of them once from the
// first byte to the last.

import { FormError, hexOf, refuse } from "./bytes.mjs";
import { Reader } from "./archive.mjs";
import { crc32 } from "./crc32.mjs";
import { Sha256, sha256 } from "./sha256.mjs";

const window = 1 << 22; // bytes read at once from bodies
const handful = 1 << 14; // up to here a call of WebCrypto costs more than it saves

/** Archive gives the bodies of entries. */
export class Archive {
  constructor(source, entries, signal) {
    this.source = source;
    this.entries = entries;
    this.signal = signal;
    this.byName = new Map();
    for (const e of entries) {
      if (!this.byName.has(e.name)) this.byName.set(e.name, e);
    }
    this.reader = new Reader(source, signal, 8);
  }

  has(name) {
    return this.byName.has(name);
  }

  /** read gives a whole body of at most limit bytes. */
  async read(name, limit) {
    const e = this.byName.get(name);
    if (!e) refuse("it is not in the pack");
    if (e.size > limit) refuse(`${e.size} bytes, over ${limit}`);
    return (await this.reader.read(e.body, e.size)).slice();
  }

  /** lines gives {bytes, ended} for each line of a body, a line over limit cut off there. */
  async *lines(name, limit) {
    const e = this.byName.get(name);
    const reader = new Reader(this.source, this.signal);
    let at = 0;
    while (at < e.size) {
      const piece = await reader.read(e.body + at, Math.min(limit + 1, e.size - at), window);
      const newline = piece.indexOf(10);
      const ended = newline >= 0;
      const bytes = ended ? piece.subarray(0, newline) : piece;
      yield { bytes, ended };
      at += bytes.length + (ended ? 1 : 0);
    }
  }

  /**
   * digests reads every body once, in order, and gives {entry, crc, sha256}
   * for each; sha256 in hex, or empty where wanted says no.
   */
  async *digests(wanted, tick) {
    const reader = new Reader(this.source, this.signal);
    for (const entry of this.entries) {
      yield { entry, ...(await digestOf(reader, entry, wanted(entry.name), tick)) };
    }
  }
}

async function digestOf(reader, e, wanted, tick) {
  if (e.size <= window) {
    const body = await reader.read(e.body, e.size, window);
    await tick(e.size);
    const crc = crc32(0, body);
    if (!wanted) return { crc, sha256: "" };
    const subtle = globalThis.crypto?.subtle;
    if (body.length <= handful || !subtle) return { crc, sha256: hexOf(sha256(body)) };
    return { crc, sha256: hexOf(new Uint8Array(await subtle.digest("SHA-256", body))) };
  }
  const hash = new Sha256();
  let crc = 0;
  for (let at = 0; at < e.size; at += window) {
    const piece = await reader.read(e.body + at, Math.min(window, e.size - at), window);
    crc = crc32(crc, piece);
    if (wanted) hash.update(piece);
    await tick(piece.length);
  }
  return { crc, sha256: wanted ? hexOf(hash.digest()) : "" };
}

/** attempt runs fn and gives what it gives; a FormError goes to fault(message) and gives undefined. */
export async function attempt(fn, fault) {
  try {
    return await fn();
  } catch (err) {
    if (!(err instanceof FormError)) throw err;
    fault(err.message);
    return undefined;
  }
}
