// node check-sigstore.cjs MODULES UNPACKED KEY.pub [BUNDLE TYPE]
//
// A signature over pack.json holds under the OpenSSH public key, by Sigstore's
// own verifier for JavaScript. MODULES is a folder in which
// `npm install @sigstore/verify@3.1.0 @sigstore/bundle@4.0.0` was run. BUNDLE
// and its predicate TYPE are the vendor's if not said otherwise.
"use strict";
const { createHash } = require("node:crypto");
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const path = require("node:path");

const [modules, unpacked, keyFile, bundleName = "signatures/vendor-1.sigstore.json", type = "urn:trustpack:pack:vendor:v1"] = process.argv.slice(2);
const load = createRequire(path.resolve(modules, "package.json"));
const { bundleFromJSON } = load("@sigstore/bundle");
const { Verifier, toSignedEntity, toTrustMaterial } = load("@sigstore/verify");

// An OpenSSH line as a SubjectPublicKeyInfo, and its fingerprint.
const blob = Buffer.from(readFileSync(keyFile, "utf8").split(" ")[1], "base64");
const ed25519 = blob.includes("ssh-ed25519");
const spki = Buffer.concat([
  Buffer.from(ed25519 ? "302a300506032b6570032100" : "3059301306072a8648ce3d020106082a8648ce3d030107034200", "hex"),
  blob.subarray(ed25519 ? -32 : -65),
]);
const fingerprint = "SHA256:" + createHash("sha256").update(blob).digest("base64").replace(/=+$/, "");

const root = { mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1", tlogs: [], certificateAuthorities: [], ctlogs: [], timestampAuthorities: [] };
const trust = toTrustMaterial(root, { [fingerprint]: { rawBytes: spki, keyDetails: ed25519 ? "PKIX_ED25519" : "PKIX_ECDSA_P256_SHA_256" } });
const verifier = new Verifier(trust, { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 });

const bundle = bundleFromJSON(JSON.parse(readFileSync(path.join(unpacked, bundleName), "utf8")));
verifier.verify(toSignedEntity(bundle));

const statement = JSON.parse(bundle.content.dsseEnvelope.payload.toString("utf8"));
const digest = createHash("sha256").update(readFileSync(path.join(unpacked, "pack.json"))).digest("hex");
if (bundle.content.dsseEnvelope.payloadType !== "application/vnd.in-toto+json" || statement.predicateType !== type ||
    statement.subject.length !== 1 || statement.subject[0].name !== "pack.json" || statement.subject[0].digest.sha256 !== digest) {
  throw new Error("the statement is not one over this pack.json of type " + type);
}
console.log("sigstore: OK, " + bundleName);
