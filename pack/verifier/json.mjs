// Canonical JSON (FORMAT.md, section 2), read by a parser of our own that gives
// integers beyond 2^53 as BigInt, and written, so that both can be compared.
// Objects come without a prototype: a key named __proto__ is a key.

import { compareText, refuse, textOf } from "./bytes.mjs";

const deepest = 100;

class Parser {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  value(depth) {
    if (depth > deepest) refuse("JSON nested too deeply");
    const c = this.text[this.at];
    if (c === "{") return this.object(depth);
    if (c === "[") return this.array(depth);
    if (c === '"') return this.string();
    for (const [word, meaning] of [["true", true], ["false", false], ["null", null]]) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return meaning;
      }
    }
    return this.integer();
  }

  take(c) {
    if (this.text[this.at] !== c) {
      refuse(this.at >= this.text.length ? "JSON ends early" : `not canonical JSON at character ${this.at}: want ${c}`);
    }
    this.at++;
  }

  object(depth) {
    const out = Object.create(null);
    this.take("{");
    if (this.text[this.at] === "}") {
      this.at++;
      return out;
    }
    let before = null;
    for (;;) {
      if (this.text[this.at] !== '"') this.take('"');
      const key = this.string();
      if (key === before) refuse(`not canonical JSON: key "${key}" stands twice`);
      if (before !== null && compareText(before, key) > 0) refuse(`not canonical JSON: key "${key}" is out of order, or stands twice`);
      before = key;
      this.take(":");
      out[key] = this.value(depth + 1);
      if (this.text[this.at] !== ",") break;
      this.at++;
    }
    this.take("}");
    return out;
  }

  array(depth) {
    const out = [];
    this.take("[");
    if (this.text[this.at] === "]") {
      this.at++;
      return out;
    }
    for (;;) {
      out.push(this.value(depth + 1));
      if (this.text[this.at] !== ",") break;
      this.at++;
    }
    this.take("]");
    return out;
  }

  string() {
    const from = this.at;
    const m = /"(?:[^"\\\u0000-\u001f]|\\.)*"/y;
    m.lastIndex = from;
    const found = m.exec(this.text);
    if (!found) refuse(`not JSON: a string at character ${from} does not end, or holds a control character`);
    this.at = m.lastIndex;
    let out;
    try {
      out = JSON.parse(found[0]);
    } catch {
      refuse(`not JSON: a bad escape in the string at character ${from}`);
    }
    if (quote(out) !== found[0] || /\p{Surrogate}/u.test(out)) refuse(`not canonical JSON: the string at character ${from} is written otherwise`);
    return out;
  }

  integer() {
    const m = /0|[1-9][0-9]*/y;
    m.lastIndex = this.at;
    const found = m.exec(this.text);
    if (!found) refuse(this.at >= this.text.length ? "JSON ends early" : `not canonical JSON at character ${this.at}`);
    this.at = m.lastIndex;
    const n = Number(found[0]);
    return Number.isSafeInteger(n) ? n : BigInt(found[0]);
  }
}

/** parseCanonical reads text that must be canonical JSON and nothing more. */
export function parseCanonical(text) {
  const p = new Parser(text);
  const v = p.value(0);
  if (p.at !== text.length) refuse(`not canonical JSON: something follows at character ${p.at}`);
  return v;
}

/** parseCanonicalBytes is parseCanonical of strict UTF-8. */
export function parseCanonicalBytes(bytes, what) {
  return parseCanonical(textOf(bytes, what));
}

/** parseJSON reads what need only be JSON, with objects as JavaScript has them. */
export function parseJSON(bytes, what) {
  const text = textOf(bytes, what);
  try {
    return JSON.parse(text);
  } catch {
    return refuse(`${what} is not JSON`);
  }
}

/** quote writes a string as canonical JSON does. */
export function quote(text) {
  return JSON.stringify(text).replace(/[\u2028\u2029]/g, (c) => "\\u" + c.charCodeAt(0).toString(16));
}

/** canonical writes a value. */
export function canonical(v) {
  if (v === null || typeof v === "boolean" || typeof v === "number" || typeof v === "bigint") return String(v);
  if (typeof v === "string") return quote(v);
  if (Array.isArray(v)) return "[" + v.map(canonical).join(",") + "]";
  return "{" + Object.keys(v).sort(compareText).map((k) => quote(k) + ":" + canonical(v[k])).join(",") + "}";
}

/** inWords writes any value that was read for a message. */
export function inWords(v) {
  return typeof v === "string" ? v : v === undefined ? "none" : canonical(v);
}

/**
 * members holds an object to its form: required and optional are lists of
 * keys, and no other key may be there.
 */
export function members(v, what, required, optional = []) {
  if (v === null || typeof v !== "object" || Array.isArray(v)) refuse(`${what} is not an object`);
  for (const key of required) {
    if (!(key in v)) refuse(`${what} has no member "${key}"`);
  }
  for (const key of Object.keys(v)) {
    if (!required.includes(key) && !optional.includes(key)) refuse(`${what} has an unknown member "${key}"`);
  }
  return v;
}
