// signatures/: bundles of roles and the SSH signature (FORMAT.md, section 6),
// held to the keys given.

import { lowerASCII, FormError } from "./bytes.mjs";
import { parseBundle } from "./bundle.mjs";
import { attempt } from "./files.mjs";
import { MissingCrypto } from "./keys.mjs";
import { signatureFile } from "./layout.mjs";
import { roles } from "./packjson.mjs";
import { parseSSHSig, sshSigHolds } from "./sshsig.mjs";
import { textOfTime } from "./times.mjs";

const sshPath = "signatures/pack.json.sshsig";

/** readBundles parses the bundles of roles; those that are malformed fail. */
export async function readBundles(v) {
  v.bundles = [];
  for (const e of v.archive.entries) {
    if (!e.name.startsWith("signatures/")) continue;
    const file = signatureFile(e.name);
    if (file?.what !== "bundle") continue;
    const id = `sig.${file.role}`;
    const b = await attempt(
      async () => parseBundle(await v.archive.read(e.name, 65536), file.role),
      (why) => v.results.fail(id, e.name, "a bundle of FORMAT.md's form", why),
    );
    if (!b) continue;
    const bundle = { ...b, ...file, path: e.name, good: false };
    v.bundles.push(bundle);
    if (b.subject !== v.packHash) {
      bundle.elsewhere = true;
      v.results.fail(id, "pack.json", `SHA-256 ${b.subject}, which ${e.name} is over`, `SHA-256 ${v.packHash}`);
    }
  }
  for (const role of roles) {
    const there = v.archive.entries.filter((e) => e.name.startsWith("signatures/")).map((e) => signatureFile(e.name))
      .filter((f) => f?.what === "bundle" && f.role === role).map((f) => f.n).sort((a, b) => a - b);
    const gap = there.findIndex((n, i) => n !== i + 1);
    if (gap >= 0) v.results.fail(`sig.${role}`, `signatures/${role}-${there[gap]}.sigstore.json`, "numbers from 1 without a gap", `${role}-${gap + 1} is missing`);
  }
  const ssh = v.archive.byName.get(sshPath);
  if (!ssh) v.results.fail("sig.sshsig", sshPath, "an SSH signature by the vendor", "missing");
  else {
    v.ssh = await attempt(
      async () => parseSSHSig(await v.archive.read(sshPath, 65536)),
      (why) => v.results.fail("sig.sshsig", sshPath, "an SSH signature of FORMAT.md's form", why),
    );
  }
  if (!v.bundles.some((b) => b.role === "vendor") && v.results.clear("sig.vendor")) {
    v.results.fail("sig.vendor", "signatures/vendor-1.sigstore.json", "a signature by the vendor", "missing");
  }
}

/** checkMathematics verifies each signature under the key that is given for it, or, without one of the vendor, under their own. */
export async function checkMathematics(v) {
  const ownVendor = !v.anchors.keys.some((k) => k.role === "vendor");
  for (const b of v.bundles) {
    const given = v.anchors.keys.filter((k) => k.role === b.role);
    const key = given.find((k) => k.key.fingerprint === b.hint)?.key ?? (ownVendor && b.role === "vendor" ? ownKey(v, b) : undefined);
    b.anchors = given.filter((k) => k.key.fingerprint === b.hint);
    if (given.length === 0 && b.role !== "vendor") {
      v.results.skip(`sig.${b.role}`, b.path, `no key of the ${b.role} was given; it names ${b.hint}`);
    } else if (!key) {
      const expected = given.length > 0 ? `a key given for the ${b.role}: ${given.map((k) => k.key.fingerprint).join(", ")}` : "the key of the SSH signature";
      v.results.fail(`sig.${b.role}`, b.path, expected, b.hint);
    } else if (!(await holds(v, `sig.${b.role}`, b.path, () => key.verify(b.signed, b.signature)))) {
      continue;
    } else if (!b.elsewhere) {
      b.holds = true;
      b.type = key.type;
    }
  }
  if (v.ssh && (await holds(v, "sig.sshsig", sshPath, () => sshSigHolds(v.ssh, v.ssh.key, v.packBytes)))) v.ssh.holds = true;
}

function ownKey(v, b) {
  return v.ssh?.key.fingerprint === b.hint ? v.ssh.key : undefined;
}

/** holds runs a verification; false fails the check, and what the browser cannot do leaves it open. */
async function holds(v, id, path, verify) {
  try {
    if (await verify()) return true;
    v.results.fail(id, path, "a signature that holds", "it does not hold");
  } catch (err) {
    if (err instanceof MissingCrypto) v.results.skip(id, path, err.message);
    else if (err instanceof FormError) v.results.fail(id, path, "a signature that holds", err.message);
    else throw err;
  }
  return false;
}

/**
 * fitOf asks whether one of the anchors of a key fits who signed and when. It
 * gives "" where one does, else {failed} or {open} with words.
 */
export function fitOf(v, anchors, identity, genTime) {
  const named = anchors.filter((k) => k.identity === undefined || k.identity === identity);
  if (named.length === 0) {
    return { failed: true, expected: `identity ${anchors.map((k) => k.identity).join(" or ")}`, actual: identity ?? "the statement gives no identity" };
  }
  const at = genTime ?? v.anchors.now;
  if (named.some((k) => (k.from === undefined || k.from <= at) && (k.until === undefined || at <= k.until))) return null;
  const k = named[0];
  const span = `valid ${k.from === undefined ? "" : `from ${textOfTime(k.from)} `}${k.until === undefined ? "" : `until ${textOfTime(k.until)}`}`.trim();
  if (genTime !== undefined) return { failed: true, expected: span, actual: `signed at ${textOfTime(genTime)}` };
  return { failed: false, actual: `the key is ${span}, and nothing proves when it signed` };
}

/** judgeSignatures says of each signature whether who and when fit the keys given. */
export function judgeSignatures(v) {
  const vendorKnown = v.anchors.keys.some((k) => k.role === "vendor");
  for (const b of v.bundles) {
    if (!b.holds) continue;
    const id = `sig.${b.role}`;
    if (b.anchors.length === 0) {
      v.results.skip(id, b.path, `it holds under ${b.hint}, a key that the pack itself names: give the vendor's`);
      continue;
    }
    b.good = report(v, id, b.path, fitOf(v, b.anchors, b.identity, v.genTimes.get(b.path)));
  }
  judgeSSH(v, vendorKnown);
  for (const role of roles) {
    const made = v.bundles.filter((b) => b.role === role);
    const good = made.filter((b) => b.good);
    if (made.length === 0 && role !== "vendor" && v.results.clear(`sig.${role}`)) v.results.skip(`sig.${role}`, "", "no such signature in the pack");
    else if (good.length === made.length && made.length > 0) {
      v.results.pass(`sig.${role}`, good.map((b) => `${b.type} by ${b.hint}${b.identity ? `, ${b.identity}` : ""}`).join("; "));
    }
  }
}

function report(v, id, path, misfit) {
  if (!misfit) return true;
  if (misfit.failed) v.results.fail(id, path, misfit.expected, misfit.actual);
  else v.results.skip(id, path, misfit.actual);
  return false;
}

function judgeSSH(v, vendorKnown) {
  if (!v.ssh?.holds) return;
  const hint = v.ssh.key.fingerprint;
  const beside = v.bundles.find((b) => b.role === "vendor" && b.hint === hint);
  if (!vendorKnown) {
    v.results.skip("sig.sshsig", sshPath, `it holds under ${hint}, a key that the pack itself names: give the vendor's`);
    return;
  }
  const anchors = v.anchors.keys.filter((k) => k.role === "vendor" && k.key.fingerprint === hint);
  if (anchors.length === 0) {
    v.results.fail("sig.sshsig", sshPath, "a key given for the vendor", hint);
    return;
  }
  const misfit = fitOf(v, anchors, beside?.identity, beside ? v.genTimes.get(beside.path) : undefined);
  if (report(v, "sig.sshsig", sshPath, misfit)) v.results.pass("sig.sshsig", `${hint}, namespace trustpack-pack`);
}

/** checkRoles holds the signatures to one another and to the roles that are needed. */
export function checkRoles(v) {
  const here = roles.flatMap((role) => v.bundles.filter((b) => b.role === role && !b.elsewhere));
  const hints = new Map();
  const identities = new Map();
  for (const b of here) {
    const twin = hints.get(b.hint);
    if (twin) v.results.fail("roles", b.path, "a key of its own for each signature", `${b.hint}, as in ${twin.path}`);
    else hints.set(b.hint, b);
    if (b.identity === undefined) continue;
    const lower = lowerASCII(b.identity);
    const same = identities.get(lower);
    if (same) v.results.fail("roles", b.path, "an identity of its own for each signature", `${b.identity}, as in ${same.path}`);
    else identities.set(lower, b);
  }
  const needed = roles.filter((r) => v.root.required_roles.includes(r) || v.anchors.requireRoles.includes(r));
  const missing = needed.filter((r) => !here.some((b) => b.role === r && b.good));
  for (const role of missing) v.results.skip("roles", "", `no signature of the ${role} under a key given for that role`);
  if (v.results.clear("roles")) v.results.pass("roles", needed.join(", "));
}
