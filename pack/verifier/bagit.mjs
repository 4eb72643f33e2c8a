// The BagIt files (RFC 8493), each made again from the rest (FORMAT.md, section 8).

import { hexOf, utf8 } from "./bytes.mjs";
import { Sha256, sha256 } from "./sha256.mjs";
import { nameOfPeriod } from "./times.mjs";

export const bagitFiles = ["bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"];

/**
 * derivedDigests gives for each BagIt file the hex SHA-256 that it must have.
 * files are the manifest's lines, digests those of every file outside data/.
 */
export function derivedDigests(root, files, digests) {
  const out = new Map();
  const put = (name, text) => out.set(name, hexOf(sha256(utf8(text))));
  put("bagit.txt", "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n");

  const payload = new Sha256();
  let bytes = 0;
  let count = 0;
  for (const f of files) {
    if (!f.path.startsWith("data/")) continue;
    payload.update(utf8(`${f.sha256}  ${f.path}\n`));
    bytes += f.size;
    count++;
  }
  put("bag-info.txt", [
    `Source-Organization: ${root.organisation}`,
    `External-Description: Evidence pack of ${root.system} for ${nameOfPeriod(root.period)}${root.sample ? " (SAMPLE DATA)" : ""}`,
    `External-Identifier: ${root.tree.root}`,
    `Bag-Software-Agent: ${root.tool}`,
    `Payload-Oxum: ${bytes}.${count}`,
    "",
  ].join("\n"));
  out.set("manifest-sha256.txt", hexOf(payload.digest()));

  const tags = [...digests.keys()].filter((name) => !name.startsWith("signatures/") && name !== "tagmanifest-sha256.txt");
  put("tagmanifest-sha256.txt", tags.sort().map((name) => `${digests.get(name)}  ${name}\n`).join(""));
  return out;
}
