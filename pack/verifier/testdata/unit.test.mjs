// Unit tests of the verifier's own parts, run by "node --test" and from Go by
// TestUnitsInNode.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { addAnchors, noAnchors, readAnchorText } from "../anchorfiles.mjs";
import { FormError, base64Of, bytesOfBase64, clean, compareText, hexOf, textOf, utf8 } from "../bytes.mjs";
import { crc32 } from "../crc32.mjs";
import { Sha256, sha256 } from "../sha256.mjs";
import { canonical, parseCanonical } from "../json.mjs";
import { parseDER, rawOfSignature } from "../der.mjs";
import { rawPaths } from "../evidence.mjs";
import { parseKey } from "../keys.mjs";
import { escapeSegment, faultOfName, faultsOfNames } from "../names.mjs";
import { parseNote, parseVerifierKey } from "../note.mjs";
import { draw, drawSample, pick, presetSize } from "../sample.mjs";
import { nameOfPeriod, periodOf, textOfTime, timeOf } from "../times.mjs";
import { Tree, includes, isConsistent, leafHash, nodeHash } from "../tree.mjs";

const refused = (fn) => assert.throws(fn, FormError);
const noise = (n) => Uint8Array.from({ length: n }, (_, i) => (i * 167 + (i >> 8) * 31) & 0xff);

test("SHA-256 at every length around its blocks, in one piece and in many", () => {
  for (let n = 0; n < 200; n++) {
    const bytes = noise(n);
    const want = createHash("sha256").update(bytes).digest("hex");
    assert.equal(hexOf(sha256(bytes)), want);
    for (const step of [1, 7, 63, 64, 65]) {
      const h = new Sha256();
      for (let at = 0; at < n; at += step) h.update(bytes.subarray(at, at + step));
      assert.equal(hexOf(h.digest()), want, `${n} bytes by ${step}`);
    }
  }
  const big = noise(1 << 21);
  assert.equal(hexOf(sha256(big)), createHash("sha256").update(big).digest("hex"));
});

test("SHA-256 counts more than 2^32 bits", () => {
  const h = new Sha256();
  const piece = new Uint8Array(1 << 24);
  for (let i = 0; i < 32; i++) h.update(piece); // 512 MiB
  const want = createHash("sha256");
  for (let i = 0; i < 32; i++) want.update(piece);
  assert.equal(hexOf(h.digest()), want.digest("hex"));
});

test("CRC-32", () => {
  assert.equal(crc32(0, utf8("123456789")), 0xcbf43926);
  const bytes = noise(1000);
  for (let cut = 0; cut < 30; cut++) assert.equal(crc32(crc32(0, bytes.subarray(0, cut)), bytes.subarray(cut)), crc32(0, bytes));
});

test("base64 has one form", () => {
  for (let n = 0; n < 70; n++) {
    const bytes = noise(n);
    assert.equal(base64Of(bytes), Buffer.from(bytes).toString("base64"));
    assert.deepEqual(bytesOfBase64(base64Of(bytes), "it"), bytes);
  }
  for (const bad of ["A", "AA", "AAA", "AB==", "AAB=", "AAAA\n", " AAAA", "AA-_", "AA==AAAA", "====", "A===", null, 7]) refused(() => bytesOfBase64(bad, "it"));
});

test("canonical JSON has one form", () => {
  const good = ['{}', '[]', '""', '0', '12', 'true', 'null', '{"a":1,"b":[1,"x",{}]}', '"\\u001f\\n\\"\\\\/ü€😀\\u2028"', '{"A":1,"a":2,"é":3,"\uffff":4,"😀":5}',
    '9007199254740991', '9007199254740993', '18446744073709551616', '{"__proto__":1}'];
  for (const text of good) assert.equal(canonical(parseCanonical(text)), text);
  const bad = ['', ' 1', '1 ', '{"a": 1}', '{"b":1,"a":2}', '{"a":1,"a":1}', '{"a":1,}', '[1,]', '01', '-1', '1.0', '1e3', '"\\/"', '"\\u0041"', '"\\u001F"', '"\\u000a"',
    '"\u2028"', '"\n"', '"\\ud800"', "'a'", '{a:1}', 'nul', '[1', '{"a":1', '"a', '{"\uffff":4,"é":3}', '{"😀":5,"\uffff":4}', "[".repeat(2000) + "]".repeat(2000)];
  for (const text of bad) refused(() => parseCanonical(text));
  assert.equal(Object.keys(parseCanonical('{"__proto__":1}'))[0], "__proto__");
  assert.equal(parseCanonical("9007199254740993"), 9007199254740993n);
});

test("UTF-8 is strict", () => {
  refused(() => textOf(Uint8Array.of(0xc0, 0x80), "it"));
  refused(() => textOf(Uint8Array.of(0xed, 0xa0, 0x80), "it"));
  assert.equal(textOf(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61), "it"), "\ufeffa");
});

test("text of unknown origin is made harmless", () => {
  assert.equal(clean("a\u001b[2J\u202eb\u200b\u0007\n\u00a0c\u{e0001}"), "a\\x1b[2J\\u202eb\\u200b\\a\\n\\u00a0c\\U000e0001");
  assert.equal(clean("Zähler 電力 😀"), "Zähler 電力 😀");
  assert.ok(clean("x".repeat(5000)).length < 610);
});

test("text is ordered by code point", () => {
  const sorted = ["", "A", "B", "a", "aa", "é", "\ufb00", "\uffff", "😀"];
  assert.deepEqual([...sorted].reverse().sort(compareText), sorted);
});

test("names", () => {
  for (const good of ["README.txt", "data/a-b_c@+=,~.d/e", "data/.a", "trust/console"]) assert.equal(faultOfName(good), null, good);
  for (const bad of ["", "/a", "a//b", "a/", "a/../b", ".", "a.", "data/nul.txt", "data/Com1", "a\\b", "C:x", "a b", "é", "x".repeat(201), "a/".repeat(600) + "a"]) assert.notEqual(faultOfName(bad), null, bad);
  const faults = (...names) => faultsOfNames(names).map((f) => f.name);
  assert.deepEqual(faults("README.txt", "pack.json", "signatures/a", "manifest.jsonl", "data/a", "data/b/c", "trust/x"), []);
  assert.deepEqual(faults("data/a", "data/A"), ["data/A"]);
  assert.deepEqual(faults("data/a/x", "data/A/y"), ["data/A/y", "data/A/y"]);
  assert.deepEqual(faults("data/a", "data/a/b"), ["data/a/b"]);
  assert.deepEqual(faults("data/b", "data/a"), ["data/a"]);
  assert.deepEqual(faults("pack.json", "README.txt"), ["README.txt"]);
  assert.deepEqual(faults("trust/x", "other.txt", "data/a"), ["data/a"]);
});

test("escaping", () => {
  const cases = {
    "": "~", "a b": "a~20b", "~": "~7e", ".": "~2e", "..": "~2e~2e", "a.": "a~2e", "a..": "a.~2e", "con": "~63on", "NUL.txt": "~4eUL.txt", "é": "~c3~a9", "com10": "com10",
  };
  for (const [text, want] of Object.entries(cases)) assert.equal(escapeSegment(text), want);
  const long = escapeSegment("x".repeat(300));
  assert.equal(long.length, 120);
  assert.equal(long, "x".repeat(106) + "~-" + hexOf(sha256(utf8("x".repeat(300)))).slice(0, 12));
});

test("paths of raw replies that clash", () => {
  const paths = (...names) => rawPaths(names.map((name) => ({ name }))).map((r) => r.path);
  assert.deepEqual(paths("a", "A", "b/c", "b"), ["raw/A", "raw/a~~2", "raw/b", "raw/b~2fc~~2"]);
});

test("times keep nanoseconds and have one form", () => {
  for (const text of ["2026-07-01T00:00:00Z", "2026-10-01T01:00:00.015445622Z", "1969-12-31T23:59:59.5Z", "0001-01-01T00:00:00Z", "2024-02-29T23:59:59.000000001Z"]) {
    assert.equal(textOfTime(timeOf(text, "it")), text);
  }
  for (const bad of ["2026-02-29T00:00:00Z", "10000-01-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00.10Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+00:00", "2026-01-01", 5]) refused(() => timeOf(bad, "it"));
  const name = (from, to) => nameOfPeriod(periodOf({ from: `${from}Z`, to: `${to}Z` }, "it"));
  assert.equal(name("2026-07-01T00:00:00", "2026-10-01T00:00:00"), "2026-Q3");
  assert.equal(name("2026-12-01T00:00:00", "2027-01-01T00:00:00"), "2026-12");
  assert.equal(name("2026-02-01T00:00:00", "2026-05-01T00:00:00"), "2026-02-01/2026-05-01");
  assert.equal(name("2026-07-01T00:00:01", "2026-10-01T00:00:00"), "2026-07-01T00:00:01Z/2026-10-01T00:00:00Z");
});

test("DER is strict", () => {
  const bad = [[], [0x30], [0x30, 0x81, 0x01, 0x00], [0x30, 0x80, 0, 0], [0x30, 1], [0x30, 0, 0], [0x1f, 0x01, 0x00], [0x30, 0x82, 0x00, 0x81]];
  for (const bytes of bad) refused(() => parseDER(Uint8Array.from(bytes)));
  const signature = (...body) => Uint8Array.from([0x30, body.length, ...body]);
  assert.deepEqual([...rawOfSignature(signature(2, 1, 5, 2, 2, 0, 0x80), 2)], [0, 5, 0, 0x80]);
  for (const body of [[2, 2, 0, 5, 2, 1, 1], [2, 1, 0x80, 2, 1, 1], [2, 0, 2, 1, 1], [2, 1, 1], [2, 1, 1, 2, 1, 1, 2, 1, 1], [2, 3, 1, 0, 0, 2, 1, 1], [4, 1, 1, 2, 1, 1]]) refused(() => rawOfSignature(signature(...body), 2));
  assert.equal(parseDER(Uint8Array.from([6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2])).oid("it"), "1.2.840.113549.1.7.2");
});

/** prove makes proofs by RFC 6962's own recursive definition. */
function rootOf(leaves) {
  if (leaves.length === 1) return leaves[0];
  const k = 2 ** Math.floor(Math.log2(leaves.length - 1));
  return nodeHash(rootOf(leaves.slice(0, k)), rootOf(leaves.slice(k)));
}

function pathOf(m, leaves) {
  if (leaves.length === 1) return [];
  const k = 2 ** Math.floor(Math.log2(leaves.length - 1));
  return m < k ? [...pathOf(m, leaves.slice(0, k)), rootOf(leaves.slice(k))] : [...pathOf(m - k, leaves.slice(k)), rootOf(leaves.slice(0, k))];
}

function growth(m, leaves, whole = true) {
  if (m === leaves.length) return whole ? [] : [rootOf(leaves)];
  const k = 2 ** Math.floor(Math.log2(leaves.length - 1));
  return m <= k ? [...growth(m, leaves.slice(0, k), whole), rootOf(leaves.slice(k))] : [...growth(m - k, leaves.slice(k), false), rootOf(leaves.slice(0, k))];
}

test("roots and proofs of trees, and no others", () => {
  const leaves = Array.from({ length: 21 }, (_, i) => leafHash(Uint8Array.of(i)));
  const other = leafHash(utf8("other"));
  for (let n = 1; n <= leaves.length; n++) {
    const some = leaves.slice(0, n);
    const root = rootOf(some);
    const tree = new Tree();
    some.forEach((h) => tree.add(h));
    assert.deepEqual(tree.root(), root);
    for (let m = 0; m < n; m++) {
      const path = pathOf(m, some);
      assert.ok(includes(m, n, some[m], path, root));
      assert.ok(!includes(m, n, other, path, root));
      assert.ok(!includes(m, n, some[m], [...path, other], root));
      assert.ok(!includes(m + n, n, some[m], path, root));
      if (path.length > 0) assert.ok(!includes(m, n, some[m], path.slice(1), root));
      const before = rootOf(leaves.slice(0, m + 1));
      const proof = growth(m + 1, some);
      assert.ok(isConsistent(m + 1, n, before, root, proof), `${m + 1} to ${n}`);
      assert.ok(!isConsistent(m + 1, n, other, root, proof));
      assert.ok(!isConsistent(m + 1, n, before, other, proof));
      assert.ok(!isConsistent(m + 1, n, before, root, [...proof, other]));
    }
  }
});

test("Rivest's sampler, as published", () => {
  const seed = "3546311556112163624615351222";
  assert.deepEqual([1, 2, 3, 4, 5].map((i) => pick(seed, i, 876)), [740, 180, 264, 789, 238]);
  assert.deepEqual(draw(seed, 876, 5), [740, 180, 264, 789, 238]);
  assert.deepEqual([...draw("1", 10, 10)].sort((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.deepEqual([0, 4, 5, 50, 51, 250, 251].map(presetSize), [0, 4, 5, 5, 6, 25, 25]);
  const items = ["a", "b", "c"].map((id) => ({ id, stratum: id === "c" ? "" : "x" }));
  const drawn = drawSample("00", { seed: "7", size: 1, stratify: "kind" }, items);
  assert.deepEqual(drawn.map((d) => d.stratum), [undefined, "x"]);
});

test("keys, verifier keys and notes", () => {
  const line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKpXwevIbbPbM5jLQoFbT/iGegF+sZej2OcqfMsT+Wg2";
  const pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAqlfB68hts9szmMtCgVtP+IZ6AX6xl6PY5yp8yxP5aDY=\n-----END PUBLIC KEY-----\n";
  assert.equal(parseKey(line).fingerprint, parseKey(pem).fingerprint);
  for (const bad of ["", "ssh-rsa AAAA", line.slice(0, -4), "ecdsa-sha2-nistp256" + line.slice(11), `${line}\n${line}`, pem + pem, "-----BEGIN OPENSSH PRIVATE KEY-----"]) refused(() => parseKey(bad));
  const vkey = "lindenau.example/gridpulse/control+1ac76e67+AdD3PvomjOGXP03YkPcvQqLzQhb+EjCt/nZqSf/gCCuP";
  assert.equal(parseVerifierKey(vkey, "it", 1).id, "1ac76e67");
  for (const bad of [vkey.replace("1ac7", "1ac8"), vkey.replace("control", "other"), "x+1+y", vkey.slice(0, -4)]) refused(() => parseVerifierKey(bad, "it", 1));
  refused(() => parseVerifierKey(vkey, "it", 4));
  const note = parseNote(utf8("o\n1\nx\n\n— o AAAAAAA=\n— w AAAAAAA=\n"));
  assert.deepEqual([note.text, note.signatures.map((s) => s.name)], ["o\n1\nx\n", ["o", "w"]]);
  for (const bad of ["o\n", "o\n\n", "o\n\n- o AAAAAAA=\n", "o\n\n— o AAAAAAA=", "o\r\n\n— o AAAAAAA=\n", "o\n\n— o AAA=\n"]) refused(() => parseNote(utf8(bad)));
});

test("files that are given as anchors", () => {
  const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKpXwevIbbPbM5jLQoFbT/iGegF+sZej2OcqfMsT+Wg2";
  const vkey = "lindenau.example/gridpulse/control+1ac76e67+AdD3PvomjOGXP03YkPcvQqLzQhb+EjCt/nZqSf/gCCuP";
  assert.deepEqual(readAnchorText(key).keys, [{ role: "vendor", key }]);
  assert.deepEqual(readAnchorText(`# remark\n${vkey}\n`).log_keys, [vkey]);
  assert.deepEqual(readAnchorText(`"vendor,reviewer:Anna Berg" namespaces="a,trustpack-pack",valid-after="20260701Z",valid-before="202609302359Z" ${key} remark`).keys, [
    { role: "vendor", key, from: "2026-07-01T00:00:00Z", until: "2026-09-30T23:59:00Z" },
    { role: "reviewer", identity: "Anna Berg", key, from: "2026-07-01T00:00:00Z", until: "2026-09-30T23:59:00Z" },
  ]);
  assert.deepEqual(readAnchorText(`vendor ${key}`).keys, [{ role: "vendor", key }]);
  for (const bad of ["", "hello", "{", "{}", `anna namespaces="trustpack-pack" ${key}`, `vendor namespaces="git" ${key}`, `vendor cert-authority,namespaces="trustpack-pack" ${key}`, `vendor namespaces="trustpack-pack",valid-after="20260701" ${key}`]) refused(() => readAnchorText(bad));
  const all = addAnchors(addAnchors(noAnchors(), readAnchorText(key)), readAnchorText(key));
  assert.equal(all.keys.length, 1);
});
