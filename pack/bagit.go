package pack

import (
	"fmt"
	"slices"
	"strings"
)

// The BagIt files (RFC 8493) repeat what pack.json and the manifest say, so
// that sha256sum and any BagIt tool can check the payload. The verifier derives
// them again and compares.

const bagitText = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"

// bagInfo is bag-info.txt for a payload of that many files and bytes.
func bagInfo(r Root, files, bytes int64) []byte {
	label := ""
	if r.Sample {
		label = " (SAMPLE DATA)"
	}
	return fmt.Appendf(nil, "Source-Organization: %s\nExternal-Description: Evidence pack of %s for %s%s\nExternal-Identifier: %s\nBag-Software-Agent: %s\nPayload-Oxum: %d.%d\n",
		r.Organisation, r.System, r.Period, label, r.Tree.Root, r.Tool, bytes, files)
}

// checksumLine is a line as sha256sum writes and reads it.
func checksumLine(sha256, path string) string { return sha256 + "  " + path + "\n" }

// inPayload reports whether a name is BagIt payload.
func inPayload(name string) bool { return strings.HasPrefix(name, dataDir) }

// inTagManifest reports whether a name has a line in tagmanifest-sha256.txt:
// everything that is not payload and does not change when a signature is added.
func inTagManifest(name string) bool {
	return !inPayload(name) && name != tagManifestName && !strings.HasPrefix(name, signaturesDir)
}

// tagManifest lists the given tag files, by name to hex digest.
func tagManifest(digests map[string]string) []byte {
	names := make([]string, 0, len(digests))
	for name := range digests {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		b.WriteString(checksumLine(digests[name], name))
	}
	return []byte(b.String())
}
