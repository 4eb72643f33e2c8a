// The archive (FORMAT.md, section 1): one form of zip, read from a source that
// gives any range of bytes and is never held whole. Each header is encoded
// again from what it says and compared, so that no other form passes.

import { concatBytes, equalBytes, refuse, shown, textOf } from "./bytes.mjs";

const longest = 0xfffffffe; // bytes of one body
const full32 = 0xffffffff;
const full16 = 0xffff;

/** Limits of this verifier; FORMAT.md names them. */
export const limits = { entries: 1000000, bytes: 64 * 1024 * 1024 * 1024 };

/** CannotRead is a failure of the medium, which says nothing about the pack. */
export class CannotRead extends Error {}

/**
 * Reader gives ranges of a source through a few windows, so that small pieces
 * side by side cost one reading, also where two folders are read by turns. A
 * source has size and read(offset, length).
 */
export class Reader {
  constructor(source, signal, windows = 1) {
    this.source = source;
    this.signal = signal;
    this.most = windows;
    this.windows = []; // {from, bytes}, the one used last first
  }

  /** read gives bytes of the file; they are not to be written to. */
  async read(offset, length, ahead = 1 << 18) {
    const i = this.windows.findIndex((w) => offset >= w.from && offset + length <= w.from + w.bytes.length);
    if (i >= 0) {
      const [w] = this.windows.splice(i, 1);
      this.windows.unshift(w);
      return w.bytes.subarray(offset - w.from, offset - w.from + length);
    }
    this.signal?.throwIfAborted();
    const want = Math.min(Math.max(length, ahead), this.source.size - offset);
    let got;
    try {
      got = await this.source.read(offset, want);
    } catch (err) {
      throw new CannotRead(`reading at byte ${offset}: ${err.message}`);
    }
    if (got.length !== want) throw new CannotRead(`reading at byte ${offset}: ${got.length} bytes of ${want}; has the file changed meanwhile?`);
    this.windows.unshift({ from: offset, bytes: got });
    this.windows.splice(this.most);
    return got.subarray(0, length);
  }
}

/** record encodes fields, [value, bytes] each, little-endian. */
function record(...fields) {
  const out = new Uint8Array(fields.reduce((n, [, size]) => n + size, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const [value, size] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else if (size === 4) view.setUint32(at, value, true);
    else view.setBigUint64(at, BigInt(value), true);
    at += size;
  }
  return out;
}

function localHeader(e) {
  return concatBytes(
    record([0x04034b50, 4], [20, 2], [0, 2], [0, 2], [0, 2], [0x21, 2], [e.crc, 4], [e.size, 4], [e.size, 4],
      [e.rawName.length, 2], [0, 2]),
    e.rawName,
  );
}

function centralHeader(e) {
  const far = e.offset >= full32;
  const extra = far ? record([1, 2], [8, 2], [e.offset, 8]) : new Uint8Array(0);
  return concatBytes(
    record([0x02014b50, 4], [0x0314, 2], [far ? 45 : 20, 2], [0, 2], [0, 2], [0, 2], [0x21, 2], [e.crc, 4], [e.size, 4],
      [e.size, 4], [e.rawName.length, 2], [extra.length, 2], [0, 2], [0, 2], [0, 2], [0x81a40000, 4],
      [far ? full32 : e.offset, 4]),
    e.rawName,
    extra,
  );
}

function endRecords(entries, size, offset) {
  const parts = [];
  if (entries >= full16 || size >= full32 || offset >= full32) {
    parts.push(
      record([0x06064b50, 4], [44, 8], [0x032d, 2], [45, 2], [0, 4], [0, 4], [entries, 8], [entries, 8], [size, 8], [offset, 8]),
      record([0x07064b50, 4], [0, 4], [offset + size, 8], [1, 4]),
    );
  }
  const n = Math.min(entries, full16);
  parts.push(record([0x06054b50, 4], [0, 2], [0, 2], [n, 2], [n, 2], [Math.min(size, full32), 4], [Math.min(offset, full32), 4], [0, 2]));
  return concatBytes(...parts);
}

/** nameOf reads a name; what is not UTF-8 becomes text that is no name. */
function nameOf(bytes) {
  try {
    return textOf(bytes, "a name");
  } catch {
    return shown(bytes);
  }
}

/**
 * scanArchive reads every header and gives the entries, {name, size, crc,
 * offset, body} each, in order. It refuses what is not of the form; CRCs are
 * compared when the bodies are read.
 */
export async function scanArchive(source, tick, signal) {
  const reader = new Reader(source, signal);
  const total = source.size;
  if (total > limits.bytes) refuse(`${total} bytes, over this verifier's limit of ${limits.bytes}`);
  const entries = [];
  let at = 0;
  for (;;) {
    if (at + 4 > total) refuse(`the archive ends at byte ${total}, within a record`);
    const head = await reader.read(at, Math.min(30, total - at));
    const view = new DataView(head.buffer, head.byteOffset, head.length);
    if (view.getUint32(0, true) !== 0x04034b50) break;
    if (head.length < 30) refuse(`the archive ends within the header at byte ${at}`);
    if (entries.length >= limits.entries) refuse(`more entries than this verifier's limit of ${limits.entries}`);
    const nameLength = view.getUint16(26, true);
    const e = { name: "", rawName: null, size: view.getUint32(22, true), crc: view.getUint32(14, true), offset: at, body: at + 30 + nameLength };
    if (e.body > total) refuse(`the archive ends within the header at byte ${at}`);
    const header = (await reader.read(at, 30 + nameLength)).slice();
    e.rawName = header.subarray(30);
    e.name = nameOf(e.rawName);
    if (!equalBytes(header, localHeader(e))) refuse(`the local header at byte ${at}, of ${e.name}, is not of the one form`);
    if (e.size > longest) refuse(`${e.name} is too long`);
    at = e.body + e.size;
    if (at > total) refuse(`${e.name} goes beyond the end of the archive`);
    entries.push(e);
    if (entries.length % 2000 === 0) await tick(0);
  }
  const directory = at;
  for (const e of entries) {
    const want = centralHeader(e);
    if (at + want.length > total) refuse(`the archive ends within the central directory`);
    if (!equalBytes(await reader.read(at, want.length), want)) {
      refuse(`the central directory at byte ${at} is not what the local header of ${e.name} gives`);
    }
    at += want.length;
    e.rawName = null;
  }
  const end = endRecords(entries.length, at - directory, directory);
  if (at + end.length > total || !equalBytes(await reader.read(at, end.length), end)) {
    refuse(`the end of the archive at byte ${at} is not what its ${entries.length} entries give`);
  }
  at += end.length;
  if (at !== total) refuse(`${total - at} bytes follow the end of the archive`);
  return entries;
}
