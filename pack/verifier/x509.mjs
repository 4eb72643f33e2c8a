// Certificates (RFC 5280), as far as a timestamp needs them: who signed whom,
// when each was good, and what it may be used for.

import { equalBytes, refuse } from "./bytes.mjs";
import { parseDER, rawOfSignature, tag } from "./der.mjs";
import { MissingCrypto } from "./keys.mjs";
import { timeOf } from "./times.mjs";

const hashes = {
  "2.16.840.1.101.3.4.2.1": "SHA-256",
  "2.16.840.1.101.3.4.2.2": "SHA-384",
  "2.16.840.1.101.3.4.2.3": "SHA-512",
};
const rsaWith = { "1.2.840.113549.1.1.11": "SHA-256", "1.2.840.113549.1.1.12": "SHA-384", "1.2.840.113549.1.1.13": "SHA-512" };
const ecdsaWith = { "1.2.840.10045.4.3.2": "SHA-256", "1.2.840.10045.4.3.3": "SHA-384", "1.2.840.10045.4.3.4": "SHA-512" };
const curves = {
  "1.2.840.10045.3.1.7": ["P-256", 32],
  "1.3.132.0.34": ["P-384", 48],
  "1.3.132.0.35": ["P-521", 66],
};
const rsaEncryption = "1.2.840.113549.1.1.1";
const ecPublicKey = "1.2.840.10045.2.1";
const extension = { keyUsage: "2.5.29.15", basicConstraints: "2.5.29.19", extendedKeyUsage: "2.5.29.37" };
const usage = { timestamping: "1.3.6.1.5.5.7.3.8", any: "2.5.29.37.0" };
// Extensions that may be critical without changing what is checked here.
const harmless = ["2.5.29.14", "2.5.29.17", "2.5.29.18", "2.5.29.31", "2.5.29.35"];

/** hashOf reads a digest's AlgorithmIdentifier to WebCrypto's name of it. */
export function hashOf(algorithm, what) {
  const [id, parameters, ...rest] = algorithm.want(tag.sequence, what).children();
  checkParameters(parameters, rest, what);
  return hashes[id.oid(what)] ?? refuse(`${what} is neither SHA-256 nor SHA-384 nor SHA-512`);
}

function checkParameters(parameters, rest, what) {
  if (rest.length > 0 || (parameters && (parameters.tag !== tag.null || parameters.body.length > 0))) refuse(`${what} has parameters that are not known`);
}

/**
 * signatureAlgorithm reads a signature's AlgorithmIdentifier to {kind, hash};
 * digest is the hash where the identifier names none.
 */
export function signatureAlgorithm(algorithm, what, digest) {
  const [id, parameters, ...rest] = algorithm.want(tag.sequence, what).children();
  const oid = id.oid(what);
  checkParameters(parameters, rest, what);
  if (rsaWith[oid]) return { kind: "rsa", hash: rsaWith[oid] };
  if (ecdsaWith[oid]) return { kind: "ecdsa", hash: ecdsaWith[oid] };
  if (oid === rsaEncryption && digest) return { kind: "rsa", hash: digest };
  return refuse(`${what} is neither RSA PKCS #1 v1.5 nor ECDSA with SHA-256, SHA-384 or SHA-512`);
}

/** timeOfDER reads a UTCTime or GeneralizedTime in its DER form. */
export function timeOfDER(e, what) {
  const text = String.fromCharCode(...e.body);
  let m;
  if (e.tag === tag.utcTime && (m = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text))) {
    m[1] = (Number(m[1]) < 50 ? "20" : "19") + m[1];
  } else if (e.tag !== tag.generalizedTime || !(m = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\.\d*[1-9])?Z$/.exec(text))) {
    refuse(`${what} is no time in DER`);
  }
  return timeOf(`${m[1]}-${m[2]}-${m[3]}T${m[4]}:${m[5]}:${m[6]}${m[7] ?? ""}Z`, what);
}

/** Certificate is one certificate. */
class Certificate {
  constructor(der) {
    this.bytes = der;
    const [tbs, algorithm, signature, ...rest] = parseDER(der).want(tag.sequence, "certificate").children();
    if (!signature || rest.length > 0) refuse("a certificate of other than three parts");
    this.signed = tbs.bytes;
    this.algorithm = algorithm;
    this.signature = signature.bits("certificate's signature");
    const fields = tbs.want(tag.sequence, "certificate").children();
    if (fields[0]?.tag === 0xa0) fields.shift();
    const [serial, inner, issuer, validity, subject, key, ...more] = fields;
    if (!key) refuse("a certificate that ends early");
    if (!inner.equals(algorithm)) refuse("a certificate of two signature algorithms");
    this.serial = serial.want(tag.integer, "serial number").bytes;
    this.issuer = issuer.bytes;
    this.subject = subject.bytes;
    const [notBefore, notAfter] = validity.children();
    this.notBefore = timeOfDER(notBefore, "notBefore");
    this.notAfter = timeOfDER(notAfter, "notAfter");
    this.key = key;
    this.readExtensions(more.find((e) => e.tag === 0xa3));
  }

  readExtensions(wrapped) {
    this.isAuthority = false;
    this.maySign = true;
    this.unknown = [];
    const seen = new Set();
    for (const e of wrapped ? parseDER(wrapped.body).want(tag.sequence, "extensions").children() : []) {
      const parts = e.want(tag.sequence, "extension").children();
      const id = parts[0].oid("extension");
      const critical = parts.length === 3 && parts[1].want(tag.boolean, "critical").body[0] === 0xff;
      const value = parseDER(parts.at(-1).want(tag.octetString, "extension").body);
      if (seen.has(id)) refuse("a certificate with one extension twice");
      seen.add(id);
      if (id === extension.basicConstraints) {
        const [ca, depth] = value.children();
        this.isAuthority = ca?.tag === tag.boolean && ca.body[0] === 0xff;
        if (depth) this.depth = depth.small("path length");
      } else if (id === extension.keyUsage) {
        const bits = value.want(tag.bitString, "key usage").body;
        this.maySign = bits.length > 1 && (bits[1] & 0x04) !== 0; // keyCertSign
      } else if (id === extension.extendedKeyUsage) {
        this.usages = value.children().map((u) => u.oid("extended key usage"));
        this.usageCritical = critical;
      } else if (critical && !harmless.includes(id)) this.unknown.push(id);
    }
  }

  /** forTimestamps: its one extended key usage is timestamping, and critical (RFC 3161, section 2.3). */
  get forTimestamps() {
    return this.usages?.length === 1 && this.usages[0] === usage.timestamping && this.usageCritical;
  }

  /** allowsTimestamps: an authority above may name no usages, or must name that. */
  get allowsTimestamps() {
    return !this.usages || this.usages.includes(usage.timestamping) || this.usages.includes(usage.any);
  }

  goodAt(time) {
    return this.notBefore <= time && time <= this.notAfter;
  }

  is(other) {
    return equalBytes(this.bytes, other.bytes);
  }

  /** verifies a signature by this certificate's key. */
  async verifies(message, signature, { kind, hash }) {
    const [algorithm] = this.key.children();
    const [id, curve] = algorithm.children();
    const oid = id.oid("public key");
    let how;
    let raw = signature;
    if (kind === "rsa" && oid === rsaEncryption) how = { name: "RSASSA-PKCS1-v1_5", hash };
    else if (kind === "ecdsa" && oid === ecPublicKey) {
      const [namedCurve, width] = curves[curve?.oid("curve")] ?? refuse("a curve that is not P-256, P-384 or P-521");
      how = { name: "ECDSA", namedCurve, hash };
      raw = rawOfSignature(signature, width);
    } else refuse("a key that does not fit its signature");
    const subtle = globalThis.crypto?.subtle;
    if (!subtle) throw new MissingCrypto("this browser offers no WebCrypto here");
    let key;
    try {
      key = await subtle.importKey("spki", this.key.bytes, how, false, ["verify"]);
    } catch (err) {
      if (err.name === "NotSupportedError") throw new MissingCrypto(`this browser's WebCrypto does not know ${how.name} ${how.namedCurve ?? ""}`);
      return refuse("a certificate's key that makes no sense");
    }
    return subtle.verify(how, key, raw, message);
  }
}

export function parseCertificate(der) {
  return new Certificate(der);
}

/**
 * chainTo looks for a way from a certificate through others to a root, all
 * good at a time. It gives the certificates on the way, or refuses.
 */
export async function chainTo(leaf, others, roots, time) {
  const reasons = [];
  const walk = async (way) => {
    const last = way.at(-1);
    if (roots.some((r) => r.is(last))) return way;
    const candidates = [...roots, ...others].filter((c) => equalBytes(c.subject, last.issuer) && !way.some((w) => w.is(c)));
    for (const c of candidates) {
      const why = faultOfIssuer(c, way, time);
      if (why) reasons.push(why);
      else if (!(await c.verifies(last.signed, last.signature, signatureAlgorithm(last.algorithm, "certificate's signature")))) reasons.push("a certificate's signature does not hold");
      else {
        const found = await walk([...way, c]);
        if (found) return found;
      }
    }
    return null;
  };
  if (!leaf.goodAt(time)) refuse("the signing certificate was not valid then");
  if (leaf.unknown.length > 0) refuse(`the signing certificate has a critical extension that is not known, ${leaf.unknown[0]}`);
  const way = await walk([leaf]);
  return way ?? refuse(`no way from the signing certificate to a given root${reasons.length > 0 ? `: ${reasons[0]}` : ""}`);
}

function faultOfIssuer(c, way, time) {
  if (!c.goodAt(time)) return "an authority's certificate was not valid then";
  if (!c.isAuthority || !c.maySign) return "a certificate that may not sign others";
  if (c.depth !== undefined && way.length - 1 > c.depth) return "more certificates than an authority allows below it";
  if (!c.allowsTimestamps) return "an authority that is not for timestamping";
  if (c.unknown.length > 0) return `a critical extension that is not known, ${c.unknown[0]}`;
  return null;
}
