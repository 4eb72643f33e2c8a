// Timestamps of RFC 3161 beside the bundles (FORMAT.md, section 6): a
// TimeStampResp whose token is CMS SignedData (RFC 5652) over a TSTInfo.

import { FormError, equalBytes, refuse } from "./bytes.mjs";
import { parseDER, tag } from "./der.mjs";
import { attempt } from "./files.mjs";
import { textOfTime } from "./times.mjs";
import { chainTo, hashOf, parseCertificate, signatureAlgorithm, timeOfDER } from "./x509.mjs";

const oid = {
  signedData: "1.2.840.113549.1.7.2",
  tstInfo: "1.2.840.113549.1.9.16.1.4",
  contentType: "1.2.840.113549.1.9.3",
  messageDigest: "1.2.840.113549.1.9.4",
  signingCertificate: "1.2.840.113549.1.9.16.2.12",
  signingCertificateV2: "1.2.840.113549.1.9.16.2.47",
};
const longest = 65536;

/** checkTimestamps makes time.rfc3161 and keeps each proved time in v.genTimes. */
export async function checkTimestamps(v) {
  const { results } = v;
  const expected = "a timestamp over the signature beside it, under a given root";
  if (v.anchors.roots.length > 0) results.require("time.rfc3161");
  const times = [];
  for (const b of v.bundles) {
    const path = b.path.replace(/\.sigstore\.json$/, ".tsr");
    if (!v.archive.has(path)) continue;
    const fail = (why) => results.fail("time.rfc3161", path, expected, why);
    const time = await attempt(async () => {
      const token = parseToken(await v.archive.read(path, longest));
      return v.crypto("time.rfc3161", path, () => verifyToken(token, b.signature, v.anchors.roots));
    }, fail);
    if (time === undefined) continue;
    if (v.anchors.roots.length === 0) {
      results.skip("time.rfc3161", path, `it claims ${textOfTime(time)}; no root of a timestamp authority was given`);
      continue;
    }
    v.genTimes.set(b.path, time);
    times.push(`${b.role}-${b.n} at ${textOfTime(time)}`);
    const said = (what, at) => results.fail("time.rfc3161", path, `after ${what}, ${textOfTime(at)}`, textOfTime(time));
    if (time < v.root.period.to) said("the period's end", v.root.period.to);
    const last = v.manifest?.lastCollected;
    if (last !== undefined && last !== null && time < last) said("the last collection", last);
  }
  if (!v.bundles.some((b) => b.role === "vendor" && v.archive.has(b.path.replace(/\.sigstore\.json$/, ".tsr")))) {
    results.skip("time.rfc3161", "", "no RFC 3161 timestamp of the vendor's signature: the time of signing rests on his word");
  }
  if (results.clear("time.rfc3161") && times.length > 0) results.pass("time.rfc3161", times.join("; "));
}

/** parseToken reads a TimeStampResp down to what is verified. */
export function parseToken(bytes) {
  const [status, token, ...rest] = parseDER(bytes).want(tag.sequence, "response").children();
  if (!token || rest.length > 0) refuse("a response of other than a status and a token");
  const [code, ...more] = status.want(tag.sequence, "status").children();
  if (code.unsigned("status").length !== 1 || code.small("status") !== 0) refuse(`the authority's status is not 0`);
  if (more.length > 0) refuse("the authority's status says more than a number");

  const [type, wrapped, ...after] = token.want(tag.sequence, "token").children();
  if (type.oid("token") !== oid.signedData || after.length > 0) refuse("the token is not CMS SignedData");
  const fields = parseDER(wrapped.want(0xa0, "token").body).want(tag.sequence, "SignedData").children();
  const [version, digests, content] = fields.splice(0, 3);
  if (version.small("version") !== 3) refuse("SignedData is not of version 3");
  const certificates = fields[0]?.tag === 0xa0 ? fields.shift() : undefined;
  if (fields[0]?.tag === 0xa1) refuse("it holds revocation lists, which no signature covers");
  if (fields.length !== 1) refuse("SignedData of an unknown form");
  const signers = fields[0].want(tag.set, "signerInfos").children();
  if (signers.length !== 1) refuse(`${signers.length} signers, want one`);

  const [contentType, contentWrapped] = content.want(tag.sequence, "content").children();
  if (contentType.oid("content") !== oid.tstInfo) refuse("the token holds no TSTInfo");
  const info = parseDER(contentWrapped.want(0xa0, "content").body).want(tag.octetString, "content").body;
  const signer = parseSigner(signers[0]);
  const algorithms = digests.want(tag.set, "digest algorithms").children();
  if (algorithms.length !== 1 || hashOf(algorithms[0], "SignedData's digest") !== signer.digestHash) {
    refuse("its digest algorithms are not the one of its signerInfo");
  }
  return {
    info, ...parseInfo(info), ...signer,
    certificates: (certificates?.children() ?? []).map((c) => parseCertificate(c.bytes)),
  };
}

function parseInfo(bytes) {
  const [version, policy, imprint, serial, genTime, ...rest] = parseDER(bytes).want(tag.sequence, "TSTInfo").children();
  if (!genTime) refuse("TSTInfo ends early");
  if (version.small("TSTInfo's version") !== 1) refuse("TSTInfo is not of version 1");
  policy.oid("policy");
  serial.want(tag.integer, "serial number");
  for (const e of rest.filter((e) => e.tag === 0xa1).flatMap((e) => e.children())) {
    const [id, critical] = e.want(tag.sequence, "TSTInfo's extension").children();
    if (critical?.tag === tag.boolean) refuse(`TSTInfo has a critical extension, ${id.oid("extension")}`);
  }
  const [algorithm, digest] = imprint.want(tag.sequence, "messageImprint").children();
  return {
    imprintHash: hashOf(algorithm, "messageImprint's digest"),
    imprint: digest.want(tag.octetString, "messageImprint").body,
    genTime: timeOfDER(genTime.want(tag.generalizedTime, "genTime"), "genTime"),
  };
}

function parseSigner(e) {
  const [version, id, digest, attributes, algorithm, signature, ...unsigned] = e.want(tag.sequence, "signerInfo").children();
  if (!signature) refuse("signerInfo ends early, or has no signed attributes");
  if (unsigned.length > 0) refuse("signerInfo has unsigned attributes");
  if (version.small("signerInfo's version") !== 1) refuse("signerInfo is not of version 1");
  attributes.want(0xa0, "signed attributes");
  const values = new Map();
  for (const a of attributes.children()) {
    const [type, set] = a.want(tag.sequence, "attribute").children();
    const name = type.oid("attribute");
    const list = set.want(tag.set, "attribute").children();
    if (values.has(name) || list.length !== 1) refuse("a signed attribute that stands twice, or has other than one value");
    values.set(name, list[0]);
  }
  const one = (name, what) => values.get(name) ?? refuse(`no signed attribute ${what}`);
  if (one(oid.contentType, "content type").oid("content type") !== oid.tstInfo) refuse("the signed content type is not TSTInfo");
  const digestHash = hashOf(digest, "signerInfo's digest");
  // What is signed is the attributes' SET, not the [0] that they stand in.
  const signed = attributes.bytes.slice();
  signed[0] = tag.set;
  return {
    signer: id, digestHash, signed, values,
    messageDigest: one(oid.messageDigest, "message digest").want(tag.octetString, "message digest").body,
    algorithm: signatureAlgorithm(algorithm, "signerInfo's signature", digestHash),
    signature: signature.want(tag.octetString, "signerInfo's signature").body,
  };
}

async function digestOf(hash, bytes) {
  return new Uint8Array(await globalThis.crypto.subtle.digest(hash, bytes));
}

/** verifyToken holds a token to the signature that it stamps and, where there are any, to the roots; it gives genTime. */
export async function verifyToken(t, stamped, roots) {
  if (!equalBytes(await digestOf(t.imprintHash, stamped), t.imprint)) refuse("it is over other bytes than the signature beside it");
  if (!equalBytes(await digestOf(t.digestHash, t.info), t.messageDigest)) refuse("its signed digest is not that of its content");
  if (t.algorithm.hash !== t.digestHash) refuse("its signature and its digest are of two hashes");
  const named = [];
  for (const c of t.certificates) {
    if (isSigner(t.signer, c) && (await isNamed(t.values, c))) named.push(c);
  }
  if (named.length !== 1) refuse("the certificate that the signer names, twice over, is not in the token");
  const [leaf] = named;
  if (!leaf.forTimestamps) refuse("the certificate that signed is not for timestamping alone, critically so");
  if (!(await holds(leaf, t))) refuse("its signature does not hold");
  if (roots.length === 0) return t.genTime;
  const way = await chainTo(leaf, t.certificates.filter((c) => c !== leaf), roots, t.genTime);
  if (!t.certificates.every((c) => way.some((w) => w.is(c)))) refuse("it holds a certificate that is not on the way to the root");
  return t.genTime;
}

async function holds(leaf, t) {
  try {
    return await leaf.verifies(t.signed, t.signature, t.algorithm);
  } catch (err) {
    if (err instanceof FormError) refuse(`its signature: ${err.message}`);
    throw err;
  }
}

/** isSigner: signerInfo names the certificate by issuer and serial number. */
function isSigner(id, certificate) {
  if (id.tag !== tag.sequence) return false;
  const [issuer, serial] = id.children();
  return equalBytes(issuer.bytes, certificate.issuer) && equalBytes(serial.bytes, certificate.serial);
}

/** isNamed: the signing-certificate attribute's first entry is the certificate's digest (RFC 2634, RFC 5035). */
async function isNamed(values, certificate) {
  const v2 = values.get(oid.signingCertificateV2);
  const v1 = values.get(oid.signingCertificate);
  if (!v2 && !v1) refuse("no signed attribute names the signing certificate");
  for (const [value, plain] of [[v2, "SHA-256"], [v1, "SHA-1"]]) {
    if (!value) continue;
    const [first] = value.want(tag.sequence, "signing certificate").children()[0].children();
    const parts = first.children();
    const hash = value === v2 && parts[0].tag === tag.sequence ? hashOf(parts.shift(), "signing certificate's digest") : plain;
    if (!equalBytes(parts[0].want(tag.octetString, "certificate's digest").body, await digestOf(hash, certificate.bytes))) return false;
  }
  return true;
}
