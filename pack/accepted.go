package pack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"trustpack/evidence"
)

const acceptedFormat = "trustpack-accepted/1"

// Accepted is the last pack of an organisation's system that a verifier found
// to be whole, and how far its logs had grown: what the next pack is held to
// (FORMAT.md section 10).
type Accepted struct {
	Format       string          `json:"format"` // "trustpack-accepted/1"
	Logs         []AcceptedLog   `json:"logs"`
	Organisation string          `json:"organisation"`
	PackJSON     string          `json:"pack_json_sha256"` // hex
	Period       evidence.Period `json:"period"`
	Sequence     int             `json:"sequence"`
	System       string          `json:"system"`
}

// AcceptedLog is the head of a log of that pack.
type AcceptedLog struct {
	Origin string `json:"origin"`
	Root   string `json:"root"` // base64
	Size   int64  `json:"size"`
}

// ParseAccepted reads what Encode writes, strictly.
func ParseAccepted(data []byte) (Accepted, error) {
	var a Accepted
	err := decodeStrict(data, &a)
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return Accepted{}, fmt.Errorf("reading the last accepted pack: %w", err)
	}
	return a, nil
}

// Encode gives a's canonical JSON.
func (a Accepted) Encode() ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("encoding the last accepted pack: %w", err)
	}
	return evidence.CanonicalJSON(a)
}

// AcceptedFile is the name under which a state keeps the last accepted pack of
// an organisation's system.
func AcceptedFile(organisation, system string) string {
	return evidence.SHA256Hex([]byte(organisation + "\x00" + system))[:16] + ".json"
}

func (a Accepted) check() error {
	switch {
	case a.Format != acceptedFormat:
		return fmt.Errorf("format %q, want %q", a.Format, acceptedFormat)
	case a.Logs == nil:
		return errors.New("logs are missing")
	case !isHex(a.PackJSON, sha256.Size):
		return errors.New("pack_json_sha256 is not 64 lower-case hex digits")
	case a.Period.From.IsZero() || !a.Period.From.Before(a.Period.To):
		return errors.New("its period does not begin before it ends")
	case a.Sequence < 1:
		return fmt.Errorf("sequence %d: the first pack is 1", a.Sequence)
	}
	for i, l := range a.Logs {
		if _, err := parseHashes([]string{l.Root}); err != nil || l.Size < 0 || l.Origin == "" {
			return fmt.Errorf("log %q: want an origin, a size and a root", l.Origin)
		}
		if i > 0 && strings.Compare(a.Logs[i-1].Origin, l.Origin) >= 0 {
			return errors.New("its logs are not sorted, each once")
		}
	}
	return errors.Join(checkText(a.Organisation), checkText(a.System))
}

// accept gives what is to be kept of a pack whose logs are these.
func accept(r Root, packSHA256 string, heads []LogHead) (*Accepted, error) {
	a := Accepted{
		Format: acceptedFormat, Logs: []AcceptedLog{}, Organisation: r.Organisation, PackJSON: packSHA256,
		Period: r.Period, Sequence: r.Sequence, System: r.System,
	}
	for _, h := range heads {
		a.Logs = append(a.Logs, AcceptedLog{h.Origin, h.Root, h.Size})
	}
	slices.SortFunc(a.Logs, func(x, y AcceptedLog) int { return strings.Compare(x.Origin, y.Origin) })
	return &a, a.check()
}
