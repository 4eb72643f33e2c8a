// The verifier under Node:
//
//   node cli.mjs --anchors FILE PACK…     one report a line, as JSON
//   node cli.mjs FOLDER                   every NN-name.epack.zip of a folder
//                                         with the anchors of NN-name.json
//
// The exit code is the verdict's; of several packs, 1 before 2 before 3 before 0.

import { webcrypto } from "node:crypto";
import { open, readFile, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";

import { verify } from "./verify.mjs";

const suffix = ".epack.zip";
globalThis.crypto ??= webcrypto; // Node 18

/** verifyFile verifies one pack on disk. */
async function verifyFile(path, anchors) {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const source = {
      name: basename(path),
      size,
      read: async (offset, length) => {
        const out = new Uint8Array(length);
        let at = 0;
        while (at < length) {
          const { bytesRead } = await file.read(out, at, length - at, offset + at);
          if (bytesRead === 0) return out.subarray(0, at);
          at += bytesRead;
        }
        return out;
      },
    };
    return await verify(source, anchors);
  } finally {
    await file.close();
  }
}

async function main(args) {
  let anchors = {};
  const packs = []; // {path, anchors}
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--anchors") anchors = JSON.parse(await readFile(args[++i], "utf8"));
    else if ((await stat(args[i])).isDirectory()) packs.push(...(await vectorsOf(args[i])));
    else packs.push({ path: args[i] });
  }
  if (packs.length === 0) throw new Error("give a pack, or a folder of vectors");
  const exits = new Set();
  for (const p of packs) {
    const { report } = await verifyFile(p.path, p.anchors ?? anchors);
    exits.add(report.exit);
    console.log(JSON.stringify(report));
  }
  return [1, 2, 3, 0].find((code) => exits.has(code));
}

async function vectorsOf(folder) {
  const out = [];
  for (const name of (await readdir(folder)).filter((n) => n.endsWith(suffix)).sort()) {
    const beside = join(folder, name.slice(0, -suffix.length) + ".json");
    out.push({ path: join(folder, name), anchors: JSON.parse(await readFile(beside, "utf8")).anchors });
  }
  return out;
}

main(process.argv.slice(2)).then(
  (code) => { process.exitCode = code; },
  (err) => {
    console.error(`cli.mjs: ${err.message}`);
    process.exitCode = 2;
  },
);
