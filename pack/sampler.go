package pack

import (
	"crypto/sha256"
	"errors"
	"math/big"
	"strconv"
)

// Numbers draws want different numbers of 1 to n, in the order drawn, by
// Rivest's sampler: pick i is 1 + (SHA-256(key "," i) mod n), for i from 1, and
// a number that was picked before is skipped (R. Rivest, "sampler.py", 2011).
// Anybody draws the same again with a pocket calculator's worth of code. It
// gives all n where want is n or more.
func Numbers(key string, n, want int) ([]int, error) {
	if n < 0 || want < 0 {
		return nil, errors.New("drawing a sample: want neither a negative population nor a negative size")
	}
	want = min(want, n)
	picked := make(map[int]bool, want)
	out := make([]int, 0, want)
	modulus, number := big.NewInt(int64(n)), new(big.Int)
	message := append([]byte(key), ',')
	for i := int64(1); len(out) < want; i++ {
		sum := sha256.Sum256(strconv.AppendInt(message, i, 10))
		pick := 1 + int(number.Mod(number.SetBytes(sum[:]), modulus).Int64())
		if !picked[pick] {
			picked[pick] = true
			out = append(out, pick)
		}
	}
	return out, nil
}

// PresetSize is how many of n items are drawn where nobody says: all of fewer
// than 5, 5 of up to 50, a tenth rounded up of up to 250, 25 of more.
func PresetSize(n int) int {
	switch {
	case n < 5:
		return n
	case n <= 50:
		return 5
	case n <= 250:
		return (n + 9) / 10
	}
	return 25
}
