// Files that somebody hands over as anchors, read to the object of anchors.mjs
// by what they hold: keys, allowed signers, verifier keys of logs and
// witnesses, roots of timestamp authorities, the last accepted pack, or that
// object itself.

import { FormError, refuse, textOf } from "./bytes.mjs";
import { parseKey, pemBlocks } from "./keys.mjs";
import { parseVerifierKey } from "./note.mjs";
import { roles } from "./packjson.mjs";

const lists = ["keys", "require_roles", "log_keys", "witnesses", "tsa_roots"];
const namespace = "trustpack-pack";

/** noAnchors is the object with nothing in it. */
export function noAnchors() {
  return { keys: [], require_roles: [], log_keys: [], witnesses: [], tsa_roots: [], state: null };
}

/** addAnchors puts what a file gave to what is there; what is there already is not added again. */
export function addAnchors(all, more) {
  for (const name of lists) {
    for (const item of more[name] ?? []) {
      const text = JSON.stringify(item);
      if (!all[name].some((known) => JSON.stringify(known) === text)) all[name].push(item);
    }
  }
  if (more.state) all.state = more.state;
  if (more.now) all.now = more.now;
  return all;
}

/** readAnchorFile reads the bytes of a file; what it cannot be used for is refused in words. */
export function readAnchorFile(bytes) {
  if (bytes.length > 1 << 24) refuse("too large to be a key or a list of keys");
  return readAnchorText(textOf(bytes, "the file"));
}

/** readAnchorText is readAnchorFile of text, such as somebody pastes. */
export function readAnchorText(text) {
  const trimmed = text.trim();
  if (trimmed === "") refuse("it is empty");
  if (trimmed.startsWith("{")) return readObject(trimmed);
  if (trimmed.includes("-----BEGIN CERTIFICATE-----")) {
    return { tsa_roots: pemBlocks(trimmed, "CERTIFICATE").length > 0 ? [trimmed + "\n"] : refuse("it holds no whole certificate") };
  }
  if (trimmed.includes("-----BEGIN")) return { keys: [plainKey(trimmed)] };
  const lines = trimmed.split(/\r?\n/).map((l) => l.trim()).filter((l) => l !== "" && !l.startsWith("#"));
  if (lines.length === 0) refuse("it holds nothing but remarks");
  const out = { keys: [], log_keys: [], witnesses: [] };
  for (const line of lines) {
    if (/^(ssh|ecdsa|sk)-\S+ AAAA/.test(line)) out.keys.push(plainKey(line));
    else if (/^[^\s+]+\+[0-9a-f]{8}\+\S+$/.test(line)) addVerifierKey(out, line);
    else out.keys.push(...allowedSigner(line));
  }
  return out;
}

function readObject(text) {
  let v;
  try {
    v = JSON.parse(text);
  } catch {
    refuse("it begins like JSON, and is not");
  }
  if (v.format === "trustpack-accepted/1") return { state: v };
  if (lists.some((name) => name in v)) return v;
  return refuse("JSON that is neither anchors nor the state of a last accepted pack");
}

/** plainKey is a key without a role; the vendor's, unless somebody says otherwise. */
function plainKey(text) {
  parseKey(text);
  return { role: "vendor", key: text };
}

function addVerifierKey(out, line) {
  try {
    parseVerifierKey(line, "the key", 1);
    out.log_keys.push(line);
  } catch (err) {
    if (!(err instanceof FormError)) throw err;
    parseVerifierKey(line, "the key", 4);
    out.witnesses.push(line);
  }
}

/**
 * allowedSigner reads a line as ssh-keygen -Y verify does: principals, options,
 * key. Principals are roles, each alone or with an identity, role:identity.
 */
function allowedSigner(line) {
  const m = /^("[^"]*"|[^\s"]+)\s+(?:((?:[A-Za-z-]+(?:="[^"]*")?)(?:,[A-Za-z-]+(?:="[^"]*")?)*)\s+)?((?:ssh|ecdsa)-\S+\s+AAAA\S+)/.exec(line);
  if (!m) return refuse("a line that is neither a key nor an allowed signer");
  const anchor = { key: m[3].replace(/\s+/, " ") };
  parseKey(anchor.key);
  const options = m[2] ? m[2].match(/[A-Za-z-]+(?:="[^"]*")?/g) : [];
  for (const option of options) {
    const [name, value] = option.replaceAll('"', "").split("=");
    if (name.toLowerCase() === "namespaces") {
      if (!value?.split(",").includes(namespace)) refuse(`an allowed signer whose namespaces do not name ${namespace}`);
    } else if (name.toLowerCase() === "valid-after") anchor.from = sshTime(value);
    else if (name.toLowerCase() === "valid-before") anchor.until = sshTime(value);
    else refuse(`an allowed signer with the option ${name}, which is not known here`);
  }
  return m[1].replaceAll('"', "").split(",").map((principal) => {
    const [role, ...identity] = principal.trim().split(":");
    if (!roles.includes(role)) refuse(`an allowed signer ${principal}; want a role, or role:identity`);
    return identity.length > 0 ? { role, identity: identity.join(":"), ...anchor } : { role, ...anchor };
  });
}

function sshTime(text) {
  const m = /^(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?Z$/.exec(text ?? "");
  if (!m) return refuse("a validity that is not in UTC, such as 20260701Z");
  return `${m[1]}-${m[2]}-${m[3]}T${m[4] ?? "00"}:${m[5] ?? "00"}:${m[6] ?? "00"}Z`;
}
