// Public keys: Ed25519 and ECDSA P-256, as an OpenSSH line or as PEM. Which
// algorithm a signature is checked by comes from the key, never from the pack.

import { base64Of, bytesOfBase64, concatBytes, equalBytes, refuse, textOf, utf8 } from "./bytes.mjs";
import { fixedWidth, parseDER, rawOfSignature, tag } from "./der.mjs";
import { sha256 } from "./sha256.mjs";

/** MissingCrypto says that this browser cannot do what a check needs. */
export class MissingCrypto extends Error {}

/** sshString is a string on SSH's wire: its length, then its bytes. */
export function sshString(bytes) {
  const out = new Uint8Array(4 + bytes.length);
  new DataView(out.buffer).setUint32(0, bytes.length);
  out.set(bytes, 4);
  return out;
}

/** SSHReader reads SSH's wire form. */
export class SSHReader {
  constructor(bytes, what) {
    this.bytes = bytes;
    this.what = what;
  }

  take(n) {
    if (n > this.bytes.length) refuse(`${this.what} ends early`);
    const out = this.bytes.subarray(0, n);
    this.bytes = this.bytes.subarray(n);
    return out;
  }

  uint32() {
    const b = this.take(4);
    return new DataView(b.buffer, b.byteOffset, 4).getUint32(0);
  }

  string() {
    return this.take(this.uint32());
  }

  text() {
    return textOf(this.string(), this.what);
  }

  end() {
    if (this.bytes.length > 0) refuse(`something follows in ${this.what}`);
  }
}

/** Key is a public key. raw is 32 bytes, or an uncompressed point of 65. */
export class Key {
  constructor(type, raw) {
    this.type = type;
    this.raw = raw;
    this.blob = type === "ed25519"
      ? concatBytes(sshString(utf8("ssh-ed25519")), sshString(raw))
      : concatBytes(sshString(utf8("ecdsa-sha2-nistp256")), sshString(utf8("nistp256")), sshString(raw));
    this.fingerprint = "SHA256:" + base64Of(sha256(this.blob)).replace("=", "");
    this.imported = null;
  }

  async crypto() {
    const algorithm = this.type === "ed25519" ? { name: "Ed25519" } : { name: "ECDSA", namedCurve: "P-256" };
    const subtle = globalThis.crypto?.subtle;
    if (!subtle) throw new MissingCrypto("this browser offers no WebCrypto here");
    try {
      this.imported ??= await subtle.importKey("raw", this.raw, algorithm, false, ["verify"]);
    } catch (err) {
      if (err.name === "NotSupportedError") throw new MissingCrypto(`this browser's WebCrypto does not know ${algorithm.name}`);
      refuse(`the key ${this.fingerprint} is no point of its curve`);
    }
    return this.imported;
  }

  /** verify checks a signature: 64 bytes of Ed25519, or DER of ECDSA over SHA-256. */
  async verify(message, signature) {
    if (this.type === "p256") {
      try {
        return await this.verifyRaw(message, rawOfSignature(signature, 32));
      } catch (err) {
        if (err instanceof MissingCrypto) throw err;
        return false;
      }
    }
    return this.verifyRaw(message, signature);
  }

  /** verifyRaw is verify with the two numbers of ECDSA side by side. */
  async verifyRaw(message, signature) {
    if (signature.length !== 64) return false;
    const key = await this.crypto();
    const algorithm = this.type === "ed25519" ? { name: "Ed25519" } : { name: "ECDSA", hash: "SHA-256" };
    return globalThis.crypto.subtle.verify(algorithm, key, signature, message);
  }
}

/** keyOfBlob reads a public key in SSH's wire form. */
export function keyOfBlob(blob, what) {
  const r = new SSHReader(blob, what);
  const type = r.text();
  let key;
  if (type === "ssh-ed25519") {
    const raw = r.string();
    if (raw.length !== 32) refuse(`${what}: an Ed25519 key of ${raw.length} bytes`);
    key = new Key("ed25519", raw.slice());
  } else if (type === "ecdsa-sha2-nistp256") {
    if (r.text() !== "nistp256") refuse(`${what}: the curve is not nistp256`);
    key = pointKey(r.string(), what);
  } else {
    refuse(`${what}: ${type} is neither ssh-ed25519 nor ecdsa-sha2-nistp256`);
  }
  r.end();
  return key;
}

function pointKey(point, what) {
  if (point.length !== 65 || point[0] !== 4) refuse(`${what}: not an uncompressed point of P-256`);
  return new Key("p256", point.slice());
}

/** pemBlocks gives the bytes of each PEM block of one kind in a text. */
export function pemBlocks(text, label) {
  const form = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]*)-----END ${label}-----`, "g");
  return [...text.matchAll(form)].map((m) => bytesOfBase64(m[1].replace(/\s+/g, ""), "PEM"));
}

const spkiPrefixEd25519 = Uint8Array.from([0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00]);

/** keyOfSPKI reads a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7). */
function keyOfSPKI(der) {
  if (der.length === 44 && equalBytes(der.subarray(0, 12), spkiPrefixEd25519)) return new Key("ed25519", der.slice(12));
  const [algorithm, point] = parseDER(der).want(tag.sequence, "public key").children();
  const [id, curve] = algorithm.children();
  if (id.oid("algorithm") !== "1.2.840.10045.2.1" || !curve || curve.oid("curve") !== "1.2.840.10045.3.1.7") {
    refuse("the PEM key is neither Ed25519 nor ECDSA P-256");
  }
  return pointKey(point.bits("public key"), "PEM key");
}

/** parseKey reads the public key of an OpenSSH line or of a PEM text. */
export function parseKey(text) {
  if (typeof text !== "string") refuse("a key is not a text");
  if (text.includes("-----BEGIN")) {
    if (/PRIVATE KEY-----/.test(text)) refuse("this is a private key; give the public one, and keep the private one to yourself");
    const blocks = pemBlocks(text, "PUBLIC KEY");
    if (blocks.length !== 1) refuse("want one PUBLIC KEY block");
    return keyOfSPKI(blocks[0]);
  }
  const lines = text.split("\n").map((l) => l.trim()).filter((l) => l !== "" && !l.startsWith("#"));
  if (lines.length !== 1) refuse("want one line of an OpenSSH public key, or a PEM public key");
  const [type, blob] = lines[0].split(/[ \t]+/);
  if (!blob) refuse("not an OpenSSH public key line");
  const key = keyOfBlob(bytesOfBase64(blob, "the key"), "the key");
  const said = key.type === "ed25519" ? "ssh-ed25519" : "ecdsa-sha2-nistp256";
  if (type !== said) refuse(`the line says ${type}, its key is ${said}`);
  return key;
}

/** rawOfSSHNumbers turns the two mpints of an SSH ECDSA signature into r and s of 32 bytes. */
export function rawOfSSHNumbers(bytes, what) {
  const r = new SSHReader(bytes, what);
  const out = new Uint8Array(64);
  for (const at of [0, 32]) {
    const n = r.string();
    if (n.length === 0 || n[0] & 0x80 || (n[0] === 0 && !(n[1] & 0x80))) refuse(`${what}: a number is not in its one form`);
    out.set(fixedWidth(n[0] === 0 ? n.subarray(1) : n, 32, what), at);
  }
  r.end();
  return out;
}
