// Anchors: what reached the verifier by another way than the pack. They come as
// one object; FORMAT.md, section 11, says what each is for.
//
//   {"keys": [{"role", "identity"?, "key": OpenSSH line or PEM, "from"?, "until"?}],
//    "require_roles": [ROLE], "log_keys": [VKEY], "witnesses": [VKEY],
//    "tsa_roots": [PEM], "state": {…} or null, "now"?: TIME}

import { refuse } from "./bytes.mjs";
import { parseState } from "./chain.mjs";
import { inWords, members } from "./json.mjs";
import { parseKey, pemBlocks } from "./keys.mjs";
import { parseVerifierKey } from "./note.mjs";
import { checkText, roles } from "./packjson.mjs";
import { now, timeOf } from "./times.mjs";
import { parseCertificate } from "./x509.mjs";

const list = (v, what) => (v === undefined || v === null ? [] : Array.isArray(v) ? v : refuse(`${what} is not an array`));

/** parseAnchors reads the object; what makes no sense is refused. */
export function parseAnchors(v) {
  members(v, "anchors", [], ["keys", "log_keys", "now", "require_roles", "state", "tsa_roots", "witnesses"]);
  return {
    keys: list(v.keys, "keys").map((k, i) => parseAnchorKey(k, `keys[${i}]`)),
    requireRoles: list(v.require_roles, "require_roles").map((r) => checkRole(r, "require_roles")),
    logKeys: list(v.log_keys, "log_keys").map((k, i) => parseVerifierKey(k, `log_keys[${i}]`, 1)),
    witnesses: list(v.witnesses, "witnesses").map((k, i) => parseVerifierKey(k, `witnesses[${i}]`, 4)),
    roots: list(v.tsa_roots, "tsa_roots").flatMap((pem, i) => parseRoots(pem, `tsa_roots[${i}]`)),
    state: v.state ? parseState(v.state) : null,
    now: v.now === undefined ? now() : timeOf(v.now, "now"),
  };
}

function checkRole(role, what) {
  return roles.includes(role) ? role : refuse(`${what}: ${inWords(role)} is no role; want ${roles.join(", ")}`);
}

function parseAnchorKey(k, what) {
  members(k, what, ["key", "role"], ["from", "identity", "until"]);
  const out = { role: checkRole(k.role, what), key: parseKey(k.key) };
  if (k.identity) out.identity = checkText(k.identity, `${what}.identity`);
  if (k.from) out.from = timeOf(k.from, `${what}.from`);
  if (k.until) out.until = timeOf(k.until, `${what}.until`);
  if (out.from !== undefined && out.until !== undefined && out.from > out.until) refuse(`${what} ends before it begins`);
  return out;
}

function parseRoots(pem, what) {
  const blocks = typeof pem === "string" ? pemBlocks(pem, "CERTIFICATE") : [];
  if (blocks.length === 0) refuse(`${what} holds no PEM certificate`);
  return blocks.map(parseCertificate);
}
