// Times and periods (FORMAT.md, section 2): RFC 3339 in UTC with Z, kept as
// nanoseconds since 1970 in a BigInt, since a float would round them.

import { members, canonical } from "./json.mjs";
import { refuse } from "./bytes.mjs";

const form = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{0,8}[1-9]))?Z$/;
const second = 1000000000n;
export const day = 86400n * second;

/** timeOf reads a time in the one form. */
export function timeOf(text, what) {
  const m = typeof text === "string" ? form.exec(text) : null;
  if (!m) return refuse(`${what} is not a time in the form 2026-07-01T00:00:00Z`);
  const [year, month, date, hour, minute, sec] = m.slice(1, 7).map(Number);
  const ms = Date.UTC(2000, month - 1, date, hour, minute, sec);
  const d = new Date(ms);
  d.setUTCFullYear(year, month - 1, date);
  const valid = month >= 1 && month <= 12 && date >= 1 && d.getUTCMonth() === month - 1 && d.getUTCDate() === date
    && hour < 24 && minute < 60 && sec < 60;
  if (!valid) return refuse(`${what} is no time: ${text}`);
  return BigInt(d.getTime()) * 1000000n + BigInt((m[7] ?? "").padEnd(9, "0"));
}

/** textOfTime writes what timeOf reads. */
export function textOfTime(t) {
  const nanos = ((t % second) + second) % second;
  const fraction = nanos === 0n ? "" : "." + String(nanos).padStart(9, "0").replace(/0+$/, "");
  return new Date(Number((t - nanos) / 1000000n)).toISOString().slice(0, 19) + fraction + "Z";
}

/** now is the machine's time. */
export function now() {
  return BigInt(Date.now()) * 1000000n;
}

/** periodOf reads {"from","to"} to {from, to} with times. */
export function periodOf(v, what) {
  members(v, what, ["from", "to"]);
  return { from: timeOf(v.from, `${what}.from`), to: timeOf(v.to, `${what}.to`), text: canonical(v) };
}

/** nameOfPeriod is how people write a period: 2026-Q3, 2026-07, days, or both times. */
export function nameOfPeriod(p) {
  const from = textOfTime(p.from);
  const to = textOfTime(p.to);
  if (p.from % day !== 0n || p.to % day !== 0n) return `${from}/${to}`;
  const [y, m, d] = from.slice(0, 10).split("-").map(Number);
  const later = (months) => new Date(Date.UTC(y, m - 1 + months, 1)).toISOString().slice(0, 10);
  if (d === 1 && to.slice(0, 10) === later(1)) return from.slice(0, 7);
  if (d === 1 && m % 3 === 1 && to.slice(0, 10) === later(3)) return `${from.slice(0, 4)}-Q${(m + 2) / 3}`;
  return `${from.slice(0, 10)}/${to.slice(0, 10)}`;
}
