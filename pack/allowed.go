package pack

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// ParseAllowedSigners reads anchors from a file that `ssh-keygen -Y verify`
// reads too (ssh-keygen(1), ALLOWED SIGNERS). The principals of a line are
// roles, each alone or with the identity that the signature must give
// ("vendor", "reviewer:Anna Berg"), separated by commas, in quotes where there
// is a space in one. Of the options namespaces must name SSHNamespace, and
// valid-after and valid-before bound the validity, in UTC. What ssh-keygen
// would read otherwise than this is refused: patterns, local times,
// certificate authorities, unknown options.
func ParseAllowedSigners(data []byte) ([]Anchor, error) {
	var out []Anchor
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		anchors, err := parseAllowedLine(line)
		if err != nil {
			return nil, fmt.Errorf("reading allowed signers: line %d: %w", n, err)
		}
		out = append(out, anchors...)
	}
	if len(out) == 0 {
		return nil, errors.New("reading allowed signers: there is no key in it")
	}
	return out, nil
}

func parseAllowedLine(line string) ([]Anchor, error) {
	principals, rest, err := cutPrincipals(line)
	if err != nil {
		return nil, err
	}
	parsed, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil {
		return nil, errors.New("want principals, options and an OpenSSH public key, such as: vendor namespaces=\"" + SSHNamespace + "\" ssh-ed25519 AAAA…")
	}
	key, err := fromSSH(parsed)
	if err != nil {
		return nil, err
	}
	key.Comment = comment
	a := Anchor{Key: key}
	seen := map[string]bool{}
	for _, option := range options {
		name, value, valued := strings.Cut(option, "=")
		name = strings.ToLower(name)
		if seen[name] {
			return nil, fmt.Errorf("option %s stands twice", name)
		}
		seen[name] = true
		if err := a.setOption(name, value, valued); err != nil {
			return nil, err
		}
	}
	return a.forPrincipals(principals)
}

// cutPrincipals takes the first field, which may be in quotes.
func cutPrincipals(line string) (principals, rest string, err error) {
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		principals, rest, ok = strings.Cut(quoted, `"`)
		if !ok || !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "\t") {
			return "", "", errors.New("the quotes around the principals do not end")
		}
		return principals, rest, nil
	}
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return "", "", errors.New("there is no key after the principals")
	}
	if strings.Contains(line[:i], `"`) {
		return "", "", errors.New(`quotes stand around all principals of a line: "reviewer:Anna Berg,auditor"`)
	}
	return line[:i], line[i:], nil
}

func (a *Anchor) setOption(name, value string, valued bool) error {
	if name == "cert-authority" {
		return errors.New("cert-authority: certificates are not keys of signers; give the key itself")
	}
	if name != "namespaces" && name != "valid-after" && name != "valid-before" {
		return fmt.Errorf("unknown option %q: want namespaces, valid-after or valid-before", name)
	}
	text, ok := strings.CutPrefix(value, `"`)
	if ok {
		text, ok = strings.CutSuffix(text, `"`)
	}
	if !valued || !ok || strings.ContainsAny(text, `"\`) {
		return fmt.Errorf(`option %s: want %s="…"`, name, name)
	}
	if name == "namespaces" {
		namespaces := strings.Split(text, ",")
		if strings.ContainsAny(text, "*?!") {
			return fmt.Errorf("namespaces %q: patterns are not read here; name %s", text, SSHNamespace)
		}
		if !slices.Contains(namespaces, SSHNamespace) {
			return fmt.Errorf("namespaces %q: the key is not for packs; add %s, or take the line out", text, SSHNamespace)
		}
		return nil
	}
	at, err := parseSSHTime(text)
	if err != nil {
		return fmt.Errorf("%s %q: %w", name, text, err)
	}
	if name == "valid-after" {
		a.From = at
	} else {
		a.Until = at
	}
	return nil
}

// parseSSHTime reads the forms that ssh-keygen reads, in UTC alone: without
// the Z it would take the time zone of whoever verifies.
func parseSSHTime(text string) (time.Time, error) {
	digits, utc := strings.CutSuffix(text, "Z")
	if strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) {
		digits = ""
	}
	layout := map[int]string{8: "20060102", 12: "200601021504", 14: "20060102150405"}[len(digits)]
	at, err := time.Parse(layout, digits)
	if layout == "" || err != nil {
		return time.Time{}, errors.New("want YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ")
	}
	if !utc {
		return time.Time{}, fmt.Errorf("it does not end in Z, so that it would mean another time in each time zone; write %sZ for UTC", text)
	}
	return at, nil
}

// sshTime writes a time as ssh-keygen reads it.
func sshTime(t time.Time) string { return t.UTC().Format("20060102150405") + "Z" }

// forPrincipals gives an anchor for each principal.
func (a Anchor) forPrincipals(principals string) ([]Anchor, error) {
	var out []Anchor
	for _, p := range strings.Split(principals, ",") {
		if strings.ContainsAny(p, "*?!") {
			return nil, fmt.Errorf("principal %q: patterns are not read here", p)
		}
		role, identity, named := strings.Cut(p, ":")
		if PredicateType(role) == "" {
			return nil, fmt.Errorf("principal %q: want a role, one of %s, or ROLE:IDENTITY", p, strings.Join(roles(), ", "))
		}
		if named && identity == "" {
			return nil, fmt.Errorf("principal %q: the identity is empty", p)
		}
		a.Role, a.Identity = role, identity
		if err := a.check(); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}
