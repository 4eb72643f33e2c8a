package strictyaml

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// nearest suggests the known key that was probably meant, or lists them where
// none is near and they are few.
func nearest(key string, fields map[string]reflect.Type) string {
	names := slices.Sorted(maps.Keys(fields))
	best, bestDistance := "", len(key)/2+2
	for _, name := range names {
		if d := distance(strings.ToLower(key), name); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf(" (did you mean %q?)", best)
	case len(names) > 0 && len(names) <= 12:
		return fmt.Sprintf(" (known here: %s)", strings.Join(names, ", "))
	}
	return ""
}

// distance is the edit distance with neighbouring letters swapped counted as
// one edit (optimal string alignment).
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
