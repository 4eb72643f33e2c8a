// Merkle trees of RFC 6962, section 2.1: roots, and proofs by the algorithms of
// RFC 9162, sections 2.1.3.2 and 2.1.4.2. Sizes and indices go up to 2^53, so
// they are halved by division and not by shifting.

import { equalBytes } from "./bytes.mjs";
import { sha256 } from "./sha256.mjs";

const zero = Uint8Array.of(0);
const one = Uint8Array.of(1);

export function leafHash(leaf) {
  return sha256(zero, leaf);
}

export function nodeHash(left, right) {
  return sha256(one, left, right);
}

export function emptyRoot() {
  return sha256();
}

const half = (n) => Math.floor(n / 2);
const odd = (n) => n % 2 === 1;

/** Tree takes leaf hashes one by one and keeps one hash a level. */
export class Tree {
  constructor() {
    this.size = 0;
    this.stack = []; // roots of the whole subtrees, largest first
  }

  add(hash) {
    let h = hash;
    for (let n = this.size; odd(n); n = half(n)) h = nodeHash(this.stack.pop(), h);
    this.stack.push(h);
    this.size++;
  }

  root() {
    if (this.size === 0) return emptyRoot();
    return this.stack.reduceRight((right, left) => nodeHash(left, right));
  }
}

/** includes tells whether proof leads from the leaf hash at index to the root of a tree of size. */
export function includes(index, size, leaf, proof, root) {
  if (index >= size) return false;
  let fn = index;
  let sn = size - 1;
  let r = leaf;
  for (const p of proof) {
    if (sn === 0) return false;
    if (odd(fn) || fn === sn) {
      r = nodeHash(p, r);
      while (!odd(fn) && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      r = nodeHash(r, p);
    }
    fn = half(fn);
    sn = half(sn);
  }
  return sn === 0 && equalBytes(r, root);
}

/** isConsistent tells whether the tree of size2 and root2 grew from that of size1 and root1. */
export function isConsistent(size1, size2, root1, root2, proof) {
  if (size1 > size2) return false;
  if (size1 === size2) return proof.length === 0 && equalBytes(root1, root2);
  if (size1 === 0) return proof.length === 0 && equalBytes(root1, emptyRoot());
  let path = proof;
  if (isPowerOfTwo(size1)) path = [root1, ...proof];
  if (path.length === 0) return false;
  let fn = size1 - 1;
  let sn = size2 - 1;
  while (odd(fn)) {
    fn = half(fn);
    sn = half(sn);
  }
  let fr = path[0];
  let sr = path[0];
  for (const c of path.slice(1)) {
    if (sn === 0) return false;
    if (odd(fn) || fn === sn) {
      fr = nodeHash(c, fr);
      sr = nodeHash(c, sr);
      while (!odd(fn) && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      sr = nodeHash(sr, c);
    }
    fn = half(fn);
    sn = half(sn);
  }
  return sn === 0 && equalBytes(fr, root1) && equalBytes(sr, root2);
}

function isPowerOfTwo(n) {
  let m = n;
  while (m > 1 && !odd(m)) m = half(m);
  return m === 1;
}
