// Where things stand under data/ (FORMAT.md, sections 5 and 7).

export const stages = ["identity", "transport", "processing", "storage-retention", "auditability"];
const stageFolders = stages.map((s, i) => `${i + 1}-${s}`);

/** controlFile reads data/<n>-<stage>/<CONTROL>/<file>: {folder, stage, control, file}, or null. */
export function controlFile(path) {
  const m = /^(data\/([^/]+)\/([^/]+))\/([^/]+)$/.exec(path);
  if (!m || !stageFolders.includes(m[2])) return null;
  return { folder: m[1], stage: m[2].slice(2), control: m[3], file: m[4] };
}

/**
 * collectionFile reads a path within a collection: {folder, control, kind, name,
 * file}, or null. name is that of the collection's folder, file the rest.
 */
export function collectionFile(path) {
  const m = /^(data\/(?:([^/]+)\/([^/]+)\/)?evidence\/([^/]+)\/([^/]+))\/(.+)$/.exec(path);
  if (!m || (m[2] !== undefined && !stageFolders.includes(m[2]))) return null;
  return { folder: m[1], control: m[3], kind: m[4], name: m[5], file: m[6] };
}

const n = "[1-9][0-9]{0,2}";
const signatureForms = [
  ["bundle", new RegExp(`^(vendor|reviewer|auditor)-(${n})\\.sigstore\\.json$`)],
  ["timestamp", new RegExp(`^(vendor|reviewer|auditor)-(${n})\\.tsr$`)],
  ["redaction", new RegExp(`^(redaction)-(${n})\\.jsonl$`)],
  ["redaction-bundle", new RegExp(`^(redaction)-(${n})\\.sigstore\\.json$`)],
  ["sample", new RegExp(`^(sample)-(${n})\\.json$`)],
  ["worksheet", new RegExp(`^(sample)-(${n})\\.xlsx$`)],
];

/** signatureFile reads a name in signatures/: {what, role, n}, or null for a name that may not be there. */
export function signatureFile(path) {
  const name = path.slice("signatures/".length);
  if (name === "pack.json.sshsig") return { what: "sshsig" };
  for (const [what, form] of signatureForms) {
    const m = form.exec(name);
    if (m) return { what, role: m[1], n: Number(m[2]) };
  }
  return null;
}
