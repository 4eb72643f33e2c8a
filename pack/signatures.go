package pack

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Names in signatures/, FORMAT.md sections 6 and 9. The groups of a pattern
// are the role, where it has one, and the number.
var (
	bundlePath      = regexp.MustCompile(`^signatures/(vendor|reviewer|auditor)-([1-9][0-9]{0,2})\.sigstore\.json$`)
	timestampPath   = regexp.MustCompile(`^signatures/(vendor|reviewer|auditor)-([1-9][0-9]{0,2})\.tsr$`)
	redactionPath   = regexp.MustCompile(`^signatures/redaction-([1-9][0-9]{0,2})\.jsonl$`)
	redactionBundle = regexp.MustCompile(`^signatures/redaction-([1-9][0-9]{0,2})\.sigstore\.json$`)
	samplePath      = regexp.MustCompile(`^signatures/sample-([1-9][0-9]{0,2})\.json$`)
	worksheetPath   = regexp.MustCompile(`^signatures/sample-([1-9][0-9]{0,2})\.xlsx$`)
)

const maxNumber = 999 // of a file in signatures/

func bundleName(role string, n int) string {
	return fmt.Sprintf("%s%s-%d.sigstore.json", signaturesDir, role, n)
}

// isSignature reports whether a name in signatures/ is one that may be there.
func isSignature(name string) bool {
	return name == sshsigName || slices.ContainsFunc([]*regexp.Regexp{bundlePath, timestampPath, redactionPath, redactionBundle, samplePath, worksheetPath}, func(p *regexp.Regexp) bool {
		return p.MatchString(name)
	})
}

// numbersOf gives the numbers of the names that match p, sorted. The number
// is p's last group.
func numbersOf(names []string, p *regexp.Regexp) []int {
	var out []int
	for _, name := range names {
		if m := p.FindStringSubmatch(name); m != nil {
			n, _ := strconv.Atoi(m[len(m)-1]) // the pattern lets only numbers through
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// gapIn gives the first number from 1 that is missing below the last of the
// sorted numbers; 0 where none is.
func gapIn(numbers []int) int {
	for i, n := range numbers {
		if n != i+1 {
			return i + 1
		}
	}
	return 0
}

// bundleNumbers gives the numbers of a role's signatures, sorted.
func (c *Contents) bundleNumbers(role string) []int {
	names := slices.DeleteFunc(c.Paths(), func(name string) bool { return !strings.HasPrefix(name, signaturesDir+role+"-") })
	return numbersOf(names, bundlePath)
}
