package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"trustpack/evidence"
)

// StateSum is the state at one moment in numbers, with a digest of all of it:
// what a running ingest says that it knows, and what anybody who has its logs
// can make again (see Rebuild).
type StateSum struct {
	Logs    map[string]int64 `json:"logs"`    // entries of each log that the state is the fold of
	Version int              `json:"version"` // of the form that the digest is over; others cannot be compared
	Window  int64            `json:"replay_window"`
	// SHA256 is over the SHA-256 hashes, sorted, of what a snapshot says of each
	// tenant, operator, device and the rest: windows, credentials, approvals,
	// decisions, books. Hex.
	SHA256  string       `json:"sha256"`
	Numbers StateNumbers `json:"numbers"`
}

// StateNumbers count what the state holds.
type StateNumbers struct {
	Tenants       int                          `json:"tenants"`
	Operators     int                          `json:"operators"` // not removed
	Roles         map[string]int               `json:"roles"`     // holders of each
	Devices       map[evidence.DeviceState]int `json:"devices"`   // generations in each state
	Credentials   int                          `json:"credentials"`
	Living        int                          `json:"living_credentials"` // of devices that may use them, and not retired
	Approvals     int                          `json:"approvals"`
	Accepted      int64                        `json:"accepted"` // events of all devices
	Alerts        map[string]int               `json:"alerts"`   // "open", "acknowledged", "resolved"
	Exports       map[string]int               `json:"exports"`
	Grants        map[string]int               `json:"grants"`
	BreakGlass    map[string]int               `json:"break_glass"` // "open", "closed"
	Purges        map[string]int               `json:"purges"`
	DeadLetters   map[string]int               `json:"deadletters"`
	Refusals      map[Code]int64               `json:"refusals"`
	Drills        int64                        `json:"drills"`
	ConfigVersion int                          `json:"config_version"`
	Books         map[string]evidence.Books    `json:"books"` // by tenant, over all days
	Parts         int                          `json:"parts"` // that the digest is over
}

// summing takes in a snapshot as it is written, part by part.
type summing struct {
	buf    []byte
	hashes [][sha256.Size]byte
	n      StateNumbers
}

func newSumming() *summing {
	return &summing{n: StateNumbers{
		Roles: map[string]int{}, Devices: map[evidence.DeviceState]int{}, Alerts: map[string]int{}, Exports: map[string]int{}, Grants: map[string]int{}, BreakGlass: map[string]int{}, Purges: map[string]int{},
		DeadLetters: map[string]int{}, Refusals: map[Code]int64{}, Books: map[string]evidence.Books{},
	}}
}

// Write takes the next bytes of a snapshot.
func (s *summing) Write(b []byte) (int, error) {
	s.buf = append(s.buf, b...)
	for {
		n, used := binary.Uvarint(s.buf)
		if used < 0 {
			return 0, errCodec
		}
		end := used + 1 + int(n)
		if used == 0 || len(s.buf) < end {
			return len(b), nil
		}
		part := s.buf[used:end]
		s.hashes = append(s.hashes, sha256.Sum256(part))
		if err := s.count(part[0], part[1:]); err != nil {
			return 0, err
		}
		s.buf = s.buf[:copy(s.buf, s.buf[end:])]
	}
}

func (s *summing) count(kind byte, b []byte) error {
	c, n := &codec{reading: true, b: b}, &s.n
	switch kind {
	case partGeneral:
		var g general
		c.general(&g)
		n.Drills, n.ConfigVersion = g.drills, g.config.Version
		maps.Copy(n.Refusals, g.refusals)
		for _, x := range g.grants {
			n.Grants[x.State]++
		}
		for _, x := range g.breaks {
			if x.ClosedAt.IsZero() {
				n.BreakGlass["open"]++
			} else {
				n.BreakGlass["closed"]++
			}
		}
	case partTenant:
		var t tenant
		c.tenant(&t)
		n.tenant(&t)
	case partOperator:
		var o operator
		if c.operator(&o); !o.removed {
			n.Operators++
			for _, r := range o.Roles {
				n.Roles[r]++
			}
		}
	case partRegistry:
		var number uint32
		var d device
		c.uint32(&number)
		c.registry(&d)
		n.Devices[d.record.State]++
		n.Credentials += len(d.record.Credentials)
		n.Approvals += len(d.approvals)
		for i := range d.record.Credentials {
			if holds(d.record.State) && d.record.Credentials[i].Retired == "" {
				n.Living++
			}
		}
	case partTraffic:
		var number uint32
		var d device
		c.uint32(&number)
		c.traffic(&d)
		n.Accepted += d.accepted
	case partAlert:
		var a AlertRecord
		c.alert(&a)
		switch {
		case a.ResolvedAt != nil:
			n.Alerts["resolved"]++
		case a.AcknowledgedAt != nil:
			n.Alerts["acknowledged"]++
		default:
			n.Alerts["open"]++
		}
	case partExport:
		var x ExportRecord
		c.export(&x)
		n.Exports[x.State]++
	case partPurge:
		var x PurgeRecord
		c.purge(&x)
		n.Purges[x.State]++
	}
	if c.err != nil {
		return fmt.Errorf("reading what the state says of itself, kind %d: %w", kind, c.err)
	}
	return nil
}

func (n *StateNumbers) tenant(t *tenant) {
	n.Tenants++
	sum := evidence.Books{Tenant: t.ID}
	for _, b := range t.books {
		sum.Received += b.Received
		sum.Accepted += b.Accepted
		sum.Duplicate += b.Duplicate
		sum.DeadLettered += b.DeadLettered
		sum.Refused += b.Refused
		sum.Replayed += b.Replayed
	}
	n.Books[t.ID] = sum
	for _, index := range t.dead {
		if f, settled := t.fates[index]; settled && f.state != "" {
			n.DeadLetters[f.state]++
		} else {
			n.DeadLetters[LetterOpen]++
		}
	}
}

// sum ends the account.
func (s *summing) sum(logs map[string]int64, window int64) (StateSum, error) {
	if len(s.buf) > 0 {
		return StateSum{}, errors.New("reading what the state says of itself: it ends in the middle")
	}
	slices.SortFunc(s.hashes, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	all := sha256.New()
	for _, h := range s.hashes {
		all.Write(h[:])
	}
	s.n.Parts = len(s.hashes)
	return StateSum{Logs: logs, Version: stateVersion, Window: window, SHA256: hex.EncodeToString(all.Sum(nil)), Numbers: s.n}, nil
}

// sumOfState is the sum of a capture, which ends with it.
func sumOfState(c *capture, logs map[string]int64, window int64) (StateSum, error) {
	s := newSumming()
	if err := c.write(s); err != nil {
		return StateSum{}, err
	}
	return s.sum(logs, window)
}

// sumState is the sum of this moment.
func (s *Server) sumState() (StateSum, error) {
	k := &s.snapshots
	k.making.Lock()
	defer k.making.Unlock()
	k.changing.Lock()
	if k.unsound.Load() {
		k.changing.Unlock()
		return StateSum{}, errors.New("something durable was not noted in the state; a restart will")
	}
	logs, c := s.led.Sizes(), s.st.capture()
	k.changing.Unlock()
	defer c.drop()
	return sumOfState(c, logs, s.st.window)
}

func (s *Server) showState(*adminCall) (any, *Problem) {
	sum, err := s.sumState()
	if err != nil {
		return nil, s.failure(err)
	}
	return sum, nil
}
