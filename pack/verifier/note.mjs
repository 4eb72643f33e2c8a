// Signed notes, checkpoints, cosignatures and proofs of logs, in the forms of
// c2sp.org: signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof.

import { bytesOfBase64, equalBytes, hexOf, refuse, textOf, utf8 } from "./bytes.mjs";
import { Key } from "./keys.mjs";
import { sha256 } from "./sha256.mjs";

/** parseVerifierKey reads name+hash+base64; type 1 is Ed25519 of a log, 4 that of a witness. */
export function parseVerifierKey(text, what, type) {
  const m = typeof text === "string" ? /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text.trim()) : null;
  if (!m) return refuse(`${what} is no verifier key (name+hash+key)`);
  const raw = bytesOfBase64(m[3], what);
  if (raw.length !== 33 || raw[0] !== type) refuse(`${what} is no Ed25519 key of ${type === 1 ? "a log" : "a witness"}`);
  const id = keyID(m[1], raw);
  if (id !== m[2]) refuse(`${what}: its hash is not that of its name and key`);
  return { name: m[1], id, key: new Key("ed25519", raw.slice(1)) };
}

function keyID(name, typed) {
  return hexOf(sha256(utf8(name + "\n"), typed).subarray(0, 4));
}

/** parseNote reads a signed note to {text, signatures: [{name, id, signature}]}. */
export function parseNote(bytes) {
  const all = textOf(bytes, "the note");
  if (/[\u0000-\u0009\u000b-\u001f]/.test(all)) refuse("the note holds control characters");
  const split = all.lastIndexOf("\n\n");
  if (split < 0 || !all.endsWith("\n")) refuse("not a signed note");
  const text = all.slice(0, split + 1);
  const lines = all.slice(split + 2, -1).split("\n");
  if (all.length === split + 2) refuse("the note has no signature");
  const signatures = lines.map((line) => {
    const m = /^— ([^\s+]+) ([A-Za-z0-9+/=]+)$/u.exec(line);
    if (!m) return refuse("a malformed signature line in the note");
    const raw = bytesOfBase64(m[2], "a signature of the note");
    if (raw.length < 5) refuse("a signature of the note is too short");
    return { name: m[1], id: hexOf(raw.subarray(0, 4)), signature: raw.subarray(4) };
  });
  return { text, signatures };
}

/** parseCheckpoint reads a checkpoint to {origin, size, root, extensions, note, bytes}. */
export function parseCheckpoint(bytes) {
  const note = parseNote(bytes);
  const [origin, size, root, ...extensions] = note.text.slice(0, -1).split("\n");
  if (!origin) refuse("the checkpoint names no origin");
  if (!/^(0|[1-9][0-9]*)$/.test(size ?? "")) refuse("the checkpoint's size is no number");
  if (!Number.isSafeInteger(Number(size))) refuse("the checkpoint's size is beyond 2^53");
  if (bytesOfBase64(root, "the checkpoint's root").length !== 32) refuse("the checkpoint's root is no SHA-256");
  if (extensions.includes("")) refuse("the checkpoint has an empty line");
  return { origin, size: Number(size), root, hash: bytesOfBase64(root, "root"), extensions, note, bytes };
}

/** signedBy tells whether a line of the note holds under a log's key; null where no line is of that key. */
export async function signedBy(note, key) {
  const lines = note.signatures.filter((s) => s.name === key.name && s.id === key.id);
  if (lines.length === 0) return null;
  for (const s of lines) {
    if (!(await key.key.verify(utf8(note.text), s.signature))) return false;
  }
  return true;
}

/** cosignedBy is signedBy for a witness: it signs the time too. */
export async function cosignedBy(note, key) {
  const lines = note.signatures.filter((s) => s.name === key.name && s.id === key.id);
  if (lines.length === 0) return null;
  for (const s of lines) {
    if (s.signature.length !== 72) return false;
    const time = new DataView(s.signature.buffer, s.signature.byteOffset, 8).getBigUint64(0);
    if (!(await key.key.verify(utf8(`cosignature/v1\ntime ${time}\n${note.text}`), s.signature.subarray(8)))) return false;
  }
  return true;
}

/** parseProof reads a tlog-proof to {index, hashes}; what follows must be the very checkpoint. */
export function parseProof(bytes, checkpoint) {
  const cut = bytes.length - checkpoint.length;
  if (cut < 0 || !equalBytes(bytes.subarray(cut), checkpoint)) refuse("the proof does not end in the very checkpoint");
  const lines = textOf(bytes.subarray(0, cut), "the proof").split("\n");
  if (lines.shift() !== "c2sp.org/tlog-proof@v1") refuse("not a tlog-proof of version 1");
  if (lines.pop() !== "" || lines.pop() !== "") refuse("the proof has no empty line before its checkpoint");
  if (lines[0]?.startsWith("extra ")) bytesOfBase64(lines.shift().slice(6), "extra");
  const m = /^index (0|[1-9][0-9]*)$/.exec(lines.shift() ?? "");
  if (!m || !Number.isSafeInteger(Number(m[1]))) refuse("the proof names no index");
  return { index: Number(m[1]), hashes: hashesOf(lines) };
}

/** hashesOf reads base64 hashes. */
export function hashesOf(list) {
  if (!Array.isArray(list)) refuse("the proof is no array of hashes");
  return list.map((text) => {
    const hash = bytesOfBase64(text, "a hash of the proof");
    return hash.length === 32 ? hash : refuse("a hash of the proof is no SHA-256");
  });
}

