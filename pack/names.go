package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

const (
	maxName    = 1000 // bytes of an entry's name
	maxSegment = 200  // bytes between two slashes
)

// checkName refuses an entry name that some file system or tool would read
// differently: anything but plain ASCII segments, "." and "..", absolute
// names, drives, backslashes, and the device names of Windows.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a name of %d bytes, want 1 to %d", len(name), maxName)
	}
	for seg := range strings.SplitSeq(name, "/") {
		switch {
		case seg == "":
			return fmt.Errorf("an absolute name, a folder, or two slashes in a row")
		case seg == "." || seg == "..":
			return fmt.Errorf("a segment %q, which leaves its folder", seg)
		case len(seg) > maxSegment:
			return fmt.Errorf("a segment of %d bytes, more than %d", len(seg), maxSegment)
		case strings.HasSuffix(seg, "."):
			return fmt.Errorf("a segment that ends in a dot, which Windows drops")
		case isDevice(seg):
			return fmt.Errorf("a segment %q, which is a device on Windows", seg)
		}
		for i := range len(seg) {
			if !isNameByte(seg[i]) {
				return fmt.Errorf("the byte %#02x: want letters, digits and %s", seg[i], namePunctuation)
			}
		}
	}
	return nil
}

const namePunctuation = "._@+=,~-"

func isNameByte(c byte) bool {
	switch c {
	case '.', '_', '@', '+', '=', ',', '~', '-':
		return true
	}
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// isDevice reports whether Windows takes seg, whatever its extension, for a
// device.
func isDevice(seg string) bool {
	stem, _, _ := strings.Cut(strings.ToLower(seg), ".")
	switch stem {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(stem) == 4 && (strings.HasPrefix(stem, "com") || strings.HasPrefix(stem, "lpt")) && stem[3] >= '1' && stem[3] <= '9'
}

// escapeSegment turns any text into a segment that checkName allows: a byte
// that may not stand there, and '~' itself, becomes '~' and two hex digits. A
// segment that grows too long is cut and told apart by a digest.
func escapeSegment(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		edge := c == '.' && (i == len(s)-1 || s == "." || s == "..")
		if !isNameByte(c) || c == '~' || edge {
			fmt.Fprintf(&b, "~%02x", c)
			continue
		}
		b.WriteByte(c)
	}
	out := b.String()
	if isDevice(out) {
		out = fmt.Sprintf("~%02x%s", out[0], out[1:])
	}
	if out == "" {
		out = "~"
	}
	const keep = 120
	if len(out) > keep {
		sum := sha256.Sum256([]byte(s))
		out = out[:keep-14] + "~-" + hex.EncodeToString(sum[:6])
	}
	return out
}

// escapePath escapes each segment of a slash path.
func escapePath(p string) string {
	segs := strings.Split(p, "/")
	for i, s := range segs {
		segs[i] = escapeSegment(s)
	}
	return strings.Join(segs, "/")
}

// rawPaths gives the file under raw/ for each name of a raw reply. Names are
// taken in byte-wise order; one whose path clashes with an earlier one (in case
// only, or a file where the other has a folder) is escaped as one segment,
// slashes and all, with "~~2" or the next free number appended.
func rawPaths(names []string) map[string]string {
	sorted := slices.Sorted(slices.Values(names))
	out := make(map[string]string, len(sorted))
	taken := newNameSet()
	next := map[string]int{} // number to try, by what stands before it; those below are taken
	for _, name := range sorted {
		path := escapePath(name)
		if taken.add(path) != nil {
			segment := escapeSegment(name)
			n := max(2, next[strings.ToLower(segment)])
			for path = fmt.Sprintf("%s~~%d", segment, n); taken.add(path) != nil; path = fmt.Sprintf("%s~~%d", segment, n) {
				n++
			}
			next[strings.ToLower(segment)] = n + 1
		}
		out[name] = path
	}
	return out
}

// nameSet finds names that cannot stand beside each other on every file
// system: repeated, equal but for case, or a file where another name has a
// folder.
type nameSet struct {
	files map[string]string // folded name → name
	dirs  map[string]string // folded folder → folder
}

func newNameSet() nameSet {
	return nameSet{files: map[string]string{}, dirs: map[string]string{}}
}

// add takes name in, or says why it clashes and leaves the set as it was.
func (s nameSet) add(name string) error {
	folded := strings.ToLower(name)
	if other, ok := s.files[folded]; ok {
		if other == name {
			return fmt.Errorf("the name stands twice")
		}
		return fmt.Errorf("the name differs from %q in case only", other)
	}
	if _, ok := s.dirs[folded]; ok {
		return fmt.Errorf("the name is both a file and a folder")
	}
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if _, ok := s.files[folded[:i]]; ok {
			return fmt.Errorf("its folder %q is also a file", name[:i])
		}
		if dir, ok := s.dirs[folded[:i]]; ok && dir != name[:i] {
			return fmt.Errorf("its folder differs from %q in case only", dir)
		}
	}
	s.files[folded] = name
	for i := range len(name) {
		if name[i] == '/' {
			s.dirs[folded[:i]] = name[:i]
		}
	}
	return nil
}

// area is the place of a name in the order of entries; see FORMAT.md.
func area(name string) int {
	switch {
	case strings.HasPrefix(name, dataDir):
		return 8
	case strings.HasPrefix(name, trustDir):
		return 9
	case strings.HasPrefix(name, signaturesDir):
		return 2
	}
	switch name {
	case readmeName:
		return 0
	case packJSONName:
		return 1
	case manifestName:
		return 3
	case bagitName:
		return 4
	case bagInfoName:
		return 5
	case payloadManifestName:
		return 6
	case tagManifestName:
		return 7
	}
	return noArea
}

// noArea is for names that the format does not know.
const noArea = 10

const (
	readmeName          = "README.txt"
	signaturesDir       = "signatures/"
	sshsigName          = signaturesDir + "pack.json.sshsig"
	manifestName        = "manifest.jsonl"
	bagitName           = "bagit.txt"
	bagInfoName         = "bag-info.txt"
	payloadManifestName = "manifest-sha256.txt"
	tagManifestName     = "tagmanifest-sha256.txt"
	dataDir             = "data/"
	trustDir            = "trust/"
)

// compareNames orders entries as they stand in the archive.
func compareNames(a, b string) int {
	if d := area(a) - area(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

// inManifest reports whether a name has a line in manifest.jsonl.
func inManifest(name string) bool {
	return name == readmeName || strings.HasPrefix(name, dataDir) || strings.HasPrefix(name, trustDir)
}
