// The records of a pack and their members (FORMAT.md, section 5), each checked
// down to the types of its values: what two readers could take differently is
// refused. A form is a function that is given a value and what it is.

import { refuse } from "./bytes.mjs";
import { periodOf, timeOf } from "./times.mjs";

const text = (v, what) => (typeof v === "string" ? v : refuse(`${what} is not a text`));
const integer = (v, what) => (typeof v === "number" || (typeof v === "bigint" && v < 1n << 63n) ? v : refuse(`${what} is not an integer`));
const yes = (v, what) => (v === true ? v : refuse(`${what} is there and is not true`));
const filled = (form) => (v, what) => (v === "" || v === 0 ? refuse(`${what} is there and is empty`) : form(v, what));

/** listOf is an array; null stands for an empty one. */
const listOf = (form) => (v, what) => {
  if (v === null) return;
  if (!Array.isArray(v)) refuse(`${what} is not an array`);
  v.forEach((item, i) => form(item, `${what}[${i}]`));
};

/** someOf is an array that is not empty. */
const someOf = (form) => (v, what) => {
  if (!Array.isArray(v) || v.length === 0) refuse(`${what} is not an array with something in it`);
  v.forEach((item, i) => form(item, `${what}[${i}]`));
};

const textsByName = (v, what) => {
  if (v === null || typeof v !== "object" || Array.isArray(v) || Object.keys(v).length === 0) refuse(`${what} is not an object with something in it`);
  for (const key of Object.keys(v)) text(v[key], `${what}.${key}`);
};

/** object has the required members, the optional ones where they are there, and no others. */
const object = (required, optional = {}) => (v, what) => {
  if (v === null || typeof v !== "object" || Array.isArray(v)) refuse(`${what} is not an object`);
  for (const key of Object.keys(required)) {
    if (!(key in v)) refuse(`${what} has no member ${key}`);
  }
  for (const key of Object.keys(v)) {
    const forms = [required, optional].find((o) => Object.hasOwn(o, key)) ?? refuse(`${what} has an unknown member ${key}`);
    forms[key](v[key], `${what}.${key}`);
  }
};

const request = object({ ended_at: timeOf, method: text, started_at: timeOf, target: text }, {
  error: filled(text), page: filled(integer), parameters: textsByName, redactions: someOf(text), reply_sha256: filled(text), request_id: filled(text), status: filled(integer),
});
const provenance = object({ clock: text, origin: text, principal: text, requests: listOf(request), system: text, tool: text }, { account: filled(text) });
const completeness = object({ basis: text, got: integer, state: text }, {
  expected: integer, gaps: someOf(object({ reason: text, what: text })), note: filled(text),
});

/** recordForm is evidence.json. */
export const recordForm = object({
  collected_at: timeOf, collector: text, completeness, items: integer, kind: text, population_sha256: text, provenance,
  raw: listOf(object({ name: text, sha256: text, size: integer })), window: periodOf,
}, { snapshot: yes });

const attribute = object({ id: text, kind: text, test: text, title: text }, { scope: filled(text), when: filled(text) });

/** controlForm is control.json. */
export const controlForm = object({
  attributes: listOf(attribute), criteria: listOf(text), id: text, kinds: listOf(text), objective: text, stage: text, title: text,
}, { guidance: filled(text), sha256: filled(text), source: filled(text) });

const judged = object({ failed: integer, id: text, kind: text, outcome: text, passed: integer, reason: text, tested: integer, title: text }, { errors: filled(integer) });
const exception = object({ attribute: text, detail: text, item: text, kind: text, outcome: text }, { waiver: filled(text) });
const citation = object({ collected_at: timeOf, completeness: text, id: text, items: integer, kind: text, origin: text, window: periodOf });

const outcomes = ["met", "exception", "not-available", "not-applicable", "error"];
const outcome = (v, what) => (outcomes.includes(v) ? v : refuse(`${what} is no outcome`));

/** findingsForm is findings.json. */
export const findingsForm = listOf(object({
  attributes: listOf(judged), control: text, evidence: listOf(citation), exceptions: listOf(exception), outcome, period: periodOf, population: integer, reason: text,
}, { clock: filled(text), sample: yes }));

/** referencesForm is references.json. */
export const referencesForm = listOf(object({ id: text, kind: text, path: text }));

/** stepForm is a line of a log's history. */
export const stepForm = object({ note: text, root: text, size: integer, time: timeOf }, { consistency: someOf(text) });
