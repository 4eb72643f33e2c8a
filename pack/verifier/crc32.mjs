// CRC-32 as zip has it (reflected polynomial 0xEDB88320), eight bytes a step.

const tables = crcTables();

function crcTables() {
  const t = Array.from({ length: 8 }, () => new Int32Array(256));
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    t[0][n] = c;
  }
  for (let n = 0; n < 256; n++) {
    for (let i = 1; i < 8; i++) t[i][n] = (t[i - 1][n] >>> 8) ^ t[0][t[i - 1][n] & 0xff];
  }
  return t;
}

const [t0, t1, t2, t3, t4, t5, t6, t7] = tables;

/** crc32 goes on from crc (0 to begin) over bytes; the result is unsigned. */
export function crc32(crc, bytes) {
  let c = ~crc;
  let i = 0;
  for (; i + 8 <= bytes.length; i += 8) {
    c ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    c = t7[c & 0xff] ^ t6[(c >>> 8) & 0xff] ^ t5[(c >>> 16) & 0xff] ^ t4[c >>> 24]
      ^ t3[bytes[i + 4]] ^ t2[bytes[i + 5]] ^ t1[bytes[i + 6]] ^ t0[bytes[i + 7]];
  }
  for (; i < bytes.length; i++) c = (c >>> 8) ^ t0[(c ^ bytes[i]) & 0xff];
  return ~c >>> 0;
}
