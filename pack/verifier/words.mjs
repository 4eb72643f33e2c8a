// Words for people: what each check asks, and what a verdict means.

/** checkTitles says in a few words what each check asks. */
export const checkTitles = {
  options: "What was given makes sense and can be read",
  "anchor.keys": "A key of the vendor was given",
  "zip.layout": "The archive has its one form, byte for byte",
  "zip.names": "Names are plain, distinct and in order",
  "pack.json": "The signed root is well formed",
  "sig.vendor": "The vendor's signature",
  "sig.reviewer": "The reviewers' signatures",
  "sig.auditor": "The auditors' signatures",
  "sig.sshsig": "The vendor's SSH signature",
  "time.rfc3161": "Trusted time of the signatures",
  roles: "Every role that is needed has signed, each with a key of its own",
  manifest: "The list of files is well formed and adds up",
  redaction: "What is withheld is signed for",
  "tree.root": "The list of files is the one that was signed",
  "file.digest": "Every file is as the list says",
  "file.set": "No file is missing, none was added",
  "derived.bagit": "The BagIt checksums are those of the files",
  "derived.exceptions": "The list of exceptions is what the findings give",
  "log.checkpoint": "The logs' signed heads",
  "log.consistency": "The logs only ever grew",
  "log.inclusion": "Cited entries are in their logs",
  "log.witness": "Witnesses have cosigned the logs",
  chain: "The pack follows the one accepted before",
  "evidence.id": "Collected evidence is what its records say",
  "evidence.window": "Collected evidence belongs to the period",
  "sample.label": "Sample data and simulated time are labelled",
  findings: "Findings, controls and references fit each other",
  "sample.drawn": "The auditor's sample is what his digits draw",
  "findings.reevaluated": "The findings follow from the evidence",
  "derived.files": "Reports and workbooks are what the evidence gives",
};

const verdicts = {
  ok: ["OK", "Every required check was made and holds, under the keys that you gave."],
  failed: ["Failed", "Something is wrong with this pack: it was changed, or was never right. Do not rely on it."],
  error: ["Not verified", "The pack or the anchors could not be used, so nothing is said about the pack."],
  inconclusive: ["Inconclusive", "Nothing wrong was found, but not all that is required could be checked."],
};

/** verdictWords gives the verdict of a report and what it means. */
export function verdictWords(report) {
  const [title, meaning] = verdicts[report.verdict];
  return { title: `Verdict: ${title}`, meaning };
}

/** labelsOf are the labels that must stand beside a verdict. */
export function labelsOf(report) {
  const out = [];
  if (report.sample) out.push("SAMPLE DATA");
  if (report.clock === "simulated") out.push("SIMULATED CLOCK");
  if (report.withheld) out.push("WITHHELD");
  return out;
}

/** groupChecks puts what failed first and what was not checked last. */
export function groupChecks(report) {
  return [["What failed", "failed"], ["What was checked and holds", "passed"], ["What was NOT checked", "not-checked"]]
    .map(([title, status]) => ({ title, checks: report.checks.filter((c) => c.status === status) }))
    .filter((g) => g.checks.length > 0);
}
