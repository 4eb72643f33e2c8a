// Bundles in signatures/ (FORMAT.md, section 6): a Sigstore bundle v0.3 around a
// DSSE envelope around an in-toto statement over pack.json.

import { bytesOfBase64, compareText, concatBytes, isHex, refuse, utf8 } from "./bytes.mjs";
import { inWords, members, parseCanonicalBytes } from "./json.mjs";
import { checkCount, checkText, packFormat } from "./packjson.mjs";
import { timeOf } from "./times.mjs";

const payloadType = "application/vnd.in-toto+json";
const mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json";
const statementTypes = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];
const rolePrefix = "urn:trustpack:role:";
export const samplePrefix = "urn:trustpack:sample:sha256:";

const predicateTypes = {
  vendor: "urn:trustpack:pack:vendor:v1",
  reviewer: "https://in-toto.io/attestation/svr/v0.1",
  auditor: "https://in-toto.io/attestation/svr/v0.1",
  redaction: "urn:trustpack:pack:redaction:v1",
};

/**
 * parseBundle reads a bundle made as one of the roles, or as "redaction", to
 * {hint, signature, signed, subject, identity, predicate}: signed are the bytes
 * that the signature is over, subject the hex SHA-256 of a pack.json.
 */
export function parseBundle(bytes, as) {
  if (bytes.length > 65536) refuse(`${bytes.length} bytes, over 65536`);
  const b = members(parseCanonicalBytes(bytes, "it"), "the bundle", ["dsseEnvelope", "mediaType", "verificationMaterial"]);
  if (b.mediaType !== mediaType) refuse(`mediaType is not ${mediaType}`);
  members(b.verificationMaterial, "verificationMaterial", ["publicKey"]);
  const { hint } = members(b.verificationMaterial.publicKey, "publicKey", ["hint"]);
  if (typeof hint !== "string" || !/^SHA256:[A-Za-z0-9+/]{43}$/.test(hint)) refuse("the hint is no OpenSSH SHA-256 fingerprint");
  const envelope = members(b.dsseEnvelope, "dsseEnvelope", ["payload", "payloadType", "signatures"]);
  if (envelope.payloadType !== payloadType) refuse(`payloadType is not ${payloadType}`);
  if (!Array.isArray(envelope.signatures) || envelope.signatures.length !== 1) refuse("want exactly one signature");
  const s = members(envelope.signatures[0], "signature", ["sig"], ["keyid"]);
  if ("keyid" in s && s.keyid !== hint) refuse("keyid is not the hint");
  const payload = bytesOfBase64(envelope.payload, "payload");
  return { hint, signature: bytesOfBase64(s.sig, "sig"), signed: preAuthentication(payload), ...parseStatement(payload, as) };
}

/** preAuthentication is DSSE's encoding of what is signed. */
function preAuthentication(payload) {
  return concatBytes(utf8(`DSSEv1 ${utf8(payloadType).length} ${payloadType} ${payload.length} `), payload);
}

function parseStatement(payload, as) {
  if (payload.length > 4096) refuse(`a statement of ${payload.length} bytes, over 4096`);
  const s = members(parseCanonicalBytes(payload, "the statement"), "the statement", ["_type", "predicate", "predicateType", "subject"]);
  if (!statementTypes.includes(s._type)) refuse("the statement's _type is not in-toto's");
  if (s.predicateType !== predicateTypes[as]) refuse(`predicateType is ${inWords(s.predicateType)}, want ${predicateTypes[as]}`);
  if (!Array.isArray(s.subject) || s.subject.length !== 1) refuse("want exactly one subject");
  const subject = members(s.subject[0], "subject", ["digest", "name"]);
  if (subject.name !== "pack.json") refuse("the subject is not pack.json");
  members(subject.digest, "digest", ["sha256"]);
  if (!isHex(subject.digest.sha256, 32)) refuse("the subject's digest is not a SHA-256 in hex");
  return { subject: subject.digest.sha256, predicate: s.predicate, identity: checkPredicate(s.predicate, as) };
}

/** checkPredicate holds a predicate to its form and gives the identity in it, or undefined. */
function checkPredicate(p, as) {
  if (as === "vendor") {
    members(p, "predicate", ["format", "role"], ["identity"]);
    if (p.format !== packFormat) refuse(`the statement is for the format ${inWords(p.format)}`);
    if (p.role !== "vendor") refuse("the statement's role is not vendor");
    return "identity" in p ? checkText(p.identity, "identity") : undefined;
  }
  if (as === "redaction") {
    members(p, "predicate", ["count", "identity", "sha256", "time"]);
    checkCount(p.count, "count", 1);
    if (!isHex(p.sha256, 32)) refuse("sha256 is not a SHA-256 in hex");
    timeOf(p.time, "time");
    return checkText(p.identity, "identity");
  }
  members(p, "predicate", ["properties", "timeVerified", "verifier"]);
  timeOf(p.timeVerified, "timeVerified");
  members(p.verifier, "verifier", ["id"]);
  checkProperties(p.properties, as);
  return checkText(p.verifier.id, "verifier.id");
}

function checkProperties(properties, role) {
  if (!Array.isArray(properties)) refuse("properties is not an array");
  properties.forEach((text, i) => {
    checkText(text, "a property");
    if (i > 0 && compareText(properties[i - 1], text) >= 0) refuse("properties are not sorted, or not distinct");
    if (text.startsWith(samplePrefix) && !isHex(text.slice(samplePrefix.length), 32)) refuse("a property cites a sample by no SHA-256");
  });
  const said = properties.filter((text) => text.startsWith(rolePrefix));
  if (said.length !== 1 || said[0] !== rolePrefix + role) refuse(`want exactly the property ${rolePrefix}${role} of a role`);
}
