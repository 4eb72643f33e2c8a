// signatures/pack.json.sshsig: OpenSSH's PROTOCOL.sshsig, armored in one form.

import { base64Of, bytesOfBase64, concatBytes, refuse, textOf, utf8 } from "./bytes.mjs";
import { SSHReader, keyOfBlob, rawOfSSHNumbers, sshString } from "./keys.mjs";

const namespace = "trustpack-pack";
const begin = "-----BEGIN SSH SIGNATURE-----\n";
const end = "-----END SSH SIGNATURE-----\n";

/** parseSSHSig reads an armored signature to {key, raw}; raw is 64 bytes. */
export function parseSSHSig(bytes) {
  const text = textOf(bytes, "it");
  if (!text.startsWith(begin) || !text.endsWith(end)) refuse("not an armored SSH signature");
  const body = text.slice(begin.length, text.length - end.length);
  const blob = bytesOfBase64(body.replaceAll("\n", ""), "the armor");
  if (body !== base64Of(blob).replace(/(.{1,70})/g, "$1\n")) refuse("the armor is not in lines of 70 characters");

  const r = new SSHReader(blob, "the signature");
  if (textOf(r.take(6), "it") !== "SSHSIG") refuse("no SSHSIG within the armor");
  const version = r.uint32();
  if (version !== 1) refuse(`version ${version}, want 1`);
  const key = keyOfBlob(r.string(), "its key");
  const space = r.text();
  if (space !== namespace) refuse(`namespace ${space}, want ${namespace}`);
  if (r.string().length !== 0) refuse("its reserved field is not empty");
  const hash = r.text();
  if (hash !== "sha512") refuse(`hash ${hash}, want sha512`);
  const s = new SSHReader(r.string(), "the signature");
  r.end();
  const want = key.type === "ed25519" ? "ssh-ed25519" : "ecdsa-sha2-nistp256";
  const type = s.text();
  if (type !== want) refuse(`the signature is ${type}, its key ${want}`);
  const inner = s.string();
  s.end();
  const raw = key.type === "ed25519" ? inner : rawOfSSHNumbers(inner, "the signature");
  return { key, raw };
}

/** holds tells whether the signature is over message, under key. */
export async function sshSigHolds(sig, key, message) {
  const digest = new Uint8Array(await globalThis.crypto.subtle.digest("SHA-512", message));
  const signed = concatBytes(utf8("SSHSIG"), sshString(utf8(namespace)), sshString(new Uint8Array(0)), sshString(utf8("sha512")), sshString(digest));
  return key.verifyRaw(signed, sig.raw);
}
