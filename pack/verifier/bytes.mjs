// Bytes and text: strict decoding, comparison, and the one function through
// which text of unknown origin passes before anybody reads it.

/** An error of the pack's form: what is wrong, in words for people. */
export class FormError extends Error {}

/** refuse ends reading of something malformed. */
export function refuse(why) {
  throw new FormError(why);
}

const encoder = new TextEncoder();

/** utf8 gives the UTF-8 bytes of a string. */
export function utf8(text) {
  return encoder.encode(text);
}

/** textOf decodes UTF-8 strictly: bad bytes are refused, a byte order mark is kept as a character. */
export function textOf(bytes, what) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse(`${what} is not valid UTF-8`);
  }
}

/** shown decodes bytes for showing alone: what is not ASCII appears as \xNN. */
export function shown(bytes) {
  let out = "";
  for (const b of bytes) {
    out += b < 0x80 ? String.fromCharCode(b) : "\\x" + b.toString(16);
  }
  return out;
}

export function equalBytes(a, b) {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}

export function concatBytes(...parts) {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

const hexDigits = Array.from({ length: 256 }, (_, b) => b.toString(16).padStart(2, "0"));

export function hexOf(bytes) {
  let out = "";
  for (const b of bytes) out += hexDigits[b];
  return out;
}

/** isHex tells lower-case hexadecimal of n bytes. */
export function isHex(text, n) {
  return typeof text === "string" && text.length === 2 * n && /^[0-9a-f]*$/.test(text);
}

export function bytesOfHex(text) {
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const base64Values = new Int16Array(128).fill(-1);
for (let i = 0; i < 64; i++) base64Values[alphabet.charCodeAt(i)] = i;

/**
 * bytesOfBase64 decodes the standard alphabet with padding, no line breaks and
 * unused bits zero (RFC 4648, sections 4 and 3.5); everything else is refused.
 */
export function bytesOfBase64(text, what) {
  if (typeof text !== "string" || text.length % 4 !== 0) refuse(`${what} is not strict base64`);
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const digits = text.length - padding;
  const out = new Uint8Array((text.length / 4) * 3 - padding);
  let bits = 0;
  let held = 0;
  let at = 0;
  for (let i = 0; i < digits; i++) {
    const code = text.charCodeAt(i);
    const value = code < 128 ? base64Values[code] : -1;
    if (value < 0) refuse(`${what} is not strict base64`);
    held = (held << 6) | value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[at++] = held >> bits;
      held &= (1 << bits) - 1;
    }
  }
  if (held !== 0) refuse(`${what} is not strict base64: unused bits are set`);
  return out;
}

export function base64Of(bytes) {
  let out = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const n = (bytes[i] << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    out += alphabet[n >> 18] + alphabet[(n >> 12) & 63];
    out += (left > 1 ? alphabet[(n >> 6) & 63] : "=") + (left > 2 ? alphabet[n & 63] : "=");
  }
  return out;
}

/**
 * compareText orders strings as their UTF-8 bytes are ordered, which is by code
 * point; JavaScript's own order is by UTF-16 unit.
 */
export function compareText(a, b) {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) {
    let x = a.charCodeAt(i);
    let y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates stand for code points above all others.
    if (x >= 0xd800 && x < 0xe000) x += 0x10000;
    if (y >= 0xd800 && y < 0xe000) y += 0x10000;
    return x - y;
  }
  return a.length - b.length;
}

/** lowerASCII is the text with A to Z made small, and nothing else touched. */
export function lowerASCII(text) {
  return text.replace(/[A-Z]/g, (c) => c.toLowerCase());
}

const printable = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;
const named = { 7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r" };

/** isPrintable tells a text of letters, marks, numbers, punctuation, symbols and plain spaces. */
export function isPrintable(text) {
  for (const c of text) {
    if (!printable.test(c)) return false;
  }
  return true;
}

/**
 * clean makes text of unknown origin safe to show: one line, no control
 * characters, nothing that reorders what is read, and not endless.
 */
export function clean(text) {
  const limit = 600;
  let out = "";
  let size = 0;
  for (const c of text) {
    if (size > limit) return out + "…";
    const code = c.codePointAt(0);
    let piece = c;
    if (!printable.test(c)) {
      if (named[code]) piece = named[code];
      else if (code < 0x80) piece = "\\x" + code.toString(16).padStart(2, "0");
      else if (code < 0x10000) piece = "\\u" + code.toString(16).padStart(4, "0");
      else piece = "\\U" + code.toString(16).padStart(8, "0");
    }
    size += piece === c ? utf8Length(code) : piece.length;
    out += piece;
  }
  return out;
}

function utf8Length(code) {
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}
