// DER (X.690), strictly: definite and shortest lengths, one-byte tags below 31,
// nothing left over. Elements keep their own bytes, since signatures are over
// bytes and not over what they mean.

import { equalBytes, refuse } from "./bytes.mjs";

export const tag = {
  boolean: 0x01, integer: 0x02, bitString: 0x03, octetString: 0x04, null: 0x05, oid: 0x06, enumerated: 0x0a,
  utf8String: 0x0c, sequence: 0x30, set: 0x31, printableString: 0x13, utcTime: 0x17, generalizedTime: 0x18,
};

/** Element is one value: its tag, its contents, and all its bytes. */
export class Element {
  constructor(tagByte, body, bytes) {
    this.tag = tagByte;
    this.body = body;
    this.bytes = bytes;
  }

  /** children are the elements of a constructed value. */
  children() {
    if ((this.tag & 0x20) === 0) refuse("DER: a primitive value where a constructed one is wanted");
    const out = [];
    let rest = this.body;
    while (rest.length > 0) {
      const [e, after] = readElement(rest);
      out.push(e);
      rest = after;
    }
    return out;
  }

  want(tagByte, what) {
    if (this.tag !== tagByte) refuse(`DER: ${what} has tag 0x${this.tag.toString(16)}, want 0x${tagByte.toString(16)}`);
    return this;
  }

  /** unsigned is the body of a non-negative INTEGER without its leading zero. */
  unsigned(what) {
    this.want(tag.integer, what);
    checkInteger(this.body, what);
    if (this.body[0] & 0x80) refuse(`DER: ${what} is negative`);
    return this.body[0] === 0 && this.body.length > 1 ? this.body.subarray(1) : this.body;
  }

  /** small is a non-negative INTEGER or ENUMERATED below 2^31. */
  small(what) {
    const b = this.tag === tag.enumerated ? this.body : this.unsigned(what);
    if (b.length === 0 || b.length > 4) refuse(`DER: ${what} is too large`);
    return b.reduce((n, x) => n * 256 + x, 0);
  }

  /** oid is an OBJECT IDENTIFIER in dots. */
  oid(what) {
    this.want(tag.oid, what);
    const arcs = [];
    let n = 0n;
    let begun = false;
    for (const b of this.body) {
      if (!begun && b === 0x80) refuse(`DER: ${what} has a padded arc`);
      begun = true;
      n = (n << 7n) | BigInt(b & 0x7f);
      if ((b & 0x80) === 0) {
        arcs.push(n);
        n = 0n;
        begun = false;
      }
    }
    if (begun || arcs.length === 0) refuse(`DER: ${what} ends early`);
    const first = arcs[0] < 40n ? 0n : arcs[0] < 80n ? 1n : 2n;
    return [first, arcs[0] - 40n * first, ...arcs.slice(1)].join(".");
  }

  /** bits is a BIT STRING of whole bytes. */
  bits(what) {
    this.want(tag.bitString, what);
    if (this.body.length === 0 || this.body[0] !== 0) refuse(`DER: ${what} is not whole bytes`);
    return this.body.subarray(1);
  }

  equals(other) {
    return equalBytes(this.bytes, other.bytes);
  }
}

function checkInteger(body, what) {
  if (body.length === 0) refuse(`DER: ${what} is empty`);
  if (body.length > 1 && ((body[0] === 0 && body[1] < 0x80) || (body[0] === 0xff && body[1] >= 0x80))) {
    refuse(`DER: ${what} is not in its shortest form`);
  }
}

/** readElement takes one element off the front and gives it with the rest. */
function readElement(bytes) {
  if (bytes.length < 2) refuse("DER: it ends early");
  if ((bytes[0] & 0x1f) === 0x1f) refuse("DER: a tag of more than one byte");
  let length = bytes[1];
  let at = 2;
  if (length >= 0x80) {
    const n = length & 0x7f;
    if (n === 0 || n > 4) refuse("DER: a length of no definite form");
    if (bytes.length < 2 + n) refuse("DER: it ends early");
    length = 0;
    for (; at < 2 + n; at++) length = length * 256 + bytes[at];
    if (length < 0x80 || bytes[2] === 0) refuse("DER: a length that is not in its shortest form");
  }
  if (at + length > bytes.length) refuse("DER: it ends early");
  return [new Element(bytes[0], bytes.subarray(at, at + length), bytes.subarray(0, at + length)), bytes.subarray(at + length)];
}

/** parseDER reads one element with nothing after it. */
export function parseDER(bytes) {
  const [e, rest] = readElement(bytes);
  if (rest.length > 0) refuse("DER: something follows");
  return e;
}

/** fixedWidth puts an unsigned number into n bytes. */
export function fixedWidth(number, n, what) {
  if (number.length > n) refuse(`${what} is too large`);
  const out = new Uint8Array(n);
  out.set(number, n - number.length);
  return out;
}

/** rawOfSignature turns a DER ECDSA signature into r and s of n bytes each, as WebCrypto wants it. */
export function rawOfSignature(der, n) {
  const pair = parseDER(der).want(tag.sequence, "signature").children();
  if (pair.length !== 2) refuse("DER: a signature of other than two numbers");
  const out = new Uint8Array(2 * n);
  pair.forEach((number, i) => out.set(fixedWidth(number.unsigned("signature"), n, "signature"), i * n));
  return out;
}
