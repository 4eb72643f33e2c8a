// The report (FORMAT.md, section 11): its checks, their order, and the verdict.

import { clean } from "./bytes.mjs";

/** checkIDs are all checks in the order of a report. */
export const checkIDs = [
  "options", "anchor.keys", "zip.layout", "zip.names", "pack.json", "sig.vendor", "sig.reviewer", "sig.auditor",
  "sig.sshsig", "time.rfc3161", "roles", "manifest", "redaction", "tree.root", "file.digest", "file.set",
  "derived.bagit", "derived.exceptions", "log.checkpoint", "log.consistency", "log.inclusion", "log.witness", "chain",
  "evidence.id", "evidence.window", "sample.label", "findings", "sample.drawn", "findings.reevaluated", "derived.files",
];

/** required are the checks without which no pack is ok. */
const required = [
  "anchor.keys", "zip.layout", "zip.names", "pack.json", "sig.vendor", "sig.sshsig", "roles", "manifest", "tree.root",
  "file.digest", "file.set", "derived.bagit", "derived.exceptions", "evidence.id", "evidence.window", "sample.label", "findings",
];

const most = 50; // failures of one check that are kept

/** Results gathers what each check found. All text in it is safe to show. */
export class Results {
  constructor() {
    this.failures = new Map();
    this.more = new Map();
    this.passed = new Map();
    this.skipped = new Map();
    this.withheld = new Map();
    this.required = new Set(required);
  }

  fail(id, path, expected, actual) {
    const list = this.failures.get(id) ?? [];
    this.failures.set(id, list);
    if (list.length >= most) this.more.set(id, (this.more.get(id) ?? 0) + 1);
    else list.push({ id, status: "failed", expected: clean(expected), actual: clean(actual), path: clean(path) });
  }

  pass(id, actual) {
    this.passed.set(id, { id, status: "passed", expected: "", actual: clean(actual), path: "" });
  }

  /** skip says why a check, or a part of it, was not made. */
  skip(id, path, why) {
    this.keep(this.skipped, id, path, why);
  }

  /** withhold is skip where a redaction took out what was needed: it does not change the verdict. */
  withhold(id, path, why) {
    this.keep(this.withheld, id, path, why);
  }

  keep(where, id, path, why) {
    const list = where.get(id) ?? [];
    where.set(id, list);
    if (list.length < most) list.push({ id, status: "not-checked", expected: "", actual: clean(why), path: clean(path) });
  }

  /** require makes a check one that the verdict ok needs. */
  require(id) {
    this.required.add(id);
  }

  clear(id) {
    return !this.failures.has(id) && !this.skipped.has(id);
  }

  /** ok tells whether a check passed, with nothing of it failed or left out. */
  ok(id) {
    return (this.passed.has(id) || this.withheld.has(id)) && this.clear(id);
  }

  list() {
    const out = [];
    for (const id of checkIDs) {
      const failures = this.failures.get(id) ?? [];
      const more = this.more.get(id);
      const open = [...(this.skipped.get(id) ?? []), ...(this.withheld.get(id) ?? [])];
      out.push(...failures);
      if (more) out.push({ id, status: "failed", expected: "", actual: `and ${more} more like these`, path: "" });
      const passed = failures.length === 0 ? this.passed.get(id) : undefined;
      if (passed) out.push(passed);
      out.push(...open);
      if (!passed && failures.length === 0 && open.length === 0 && id !== "options") {
        out.push({ id, status: "not-checked", expected: "", actual: "not reached: an earlier check failed", path: "" });
      }
    }
    return out;
  }

  verdict() {
    if (this.failures.has("options")) return { verdict: "error", exit: 2 };
    if (this.failures.size > 0) return { verdict: "failed", exit: 1 };
    for (const id of this.required) {
      if (!this.ok(id)) return { verdict: "inconclusive", exit: 3 };
    }
    return { verdict: "ok", exit: 0 };
  }
}
