package metering

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func load(t *testing.T) *Fleet {
	t.Helper()
	f, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func device(t *testing.T, f *Fleet, id string) Device {
	t.Helper()
	for _, d := range f.Devices {
		if d.ID == id {
			return d
		}
	}
	t.Fatalf("no device %s", id)
	return Device{}
}

func TestFleetHoldsWhatTheExampleNeeds(t *testing.T) {
	f := load(t)
	if len(f.Devices) != 41 || len(f.Tenants) != 2 {
		t.Errorf("%d devices of %d tenants, want 41 of 2", len(f.Devices), len(f.Tenants))
	}
	kinds := map[TroubleKind]int{}
	for _, d := range f.Devices {
		for _, tr := range d.Trouble {
			kinds[tr.Kind]++
		}
	}
	want := map[TroubleKind]int{ClockAhead: 2, Resend: 1, Silent: 1, Gap: 2, OutOfRange: 1, Quarantined: 1, Revoked: 1}
	for kind, n := range want {
		if kinds[kind] != n {
			t.Errorf("%d times %s, want %d", kinds[kind], kind, n)
		}
	}
	end := Quarter().To
	if now, behind := f.firmwareOf(device(t, f, "sn-em-14"), end), f.firmwareOf(device(t, f, "sn-em-15"), end); now != "4.2.0" || behind != "4.1.2" {
		t.Errorf("firmware at the end: %s and, behind, %s", now, behind)
	}
	for _, u := range f.Updates {
		for _, d := range f.Devices {
			covered := slices.Contains(u.Behind, d.ID)
			for _, w := range u.Waves {
				covered = covered || slices.Contains(w.Devices, d.ID)
			}
			if d.Type == u.Type && !covered && !d.revoked(end) && !d.Pending {
				t.Errorf("update %s forgets %s", u.Version, d.ID)
			}
		}
	}
}

// run writes down everything that the timeline would do.
func run(f *Fleet) (hash string, lines int) {
	h := sha256.New()
	for _, s := range f.Timeline() {
		fmt.Fprintln(h, s.At, s.Kind, s.Actor, s.Tenant, s.Device, s.Name, s.Roles, s.Type, s.Site, s.Fleet, s.Reason, s.Ticket, s.Alert)
		if s.Upload != nil {
			h.Write(s.Upload.Body)
			lines += s.Upload.Expect.Accepted + s.Upload.Expect.DeadLettered
		}
	}
	return hex.EncodeToString(h.Sum(nil)), lines
}

func TestTwoRunsGiveTheSameBytes(t *testing.T) {
	first, lines := run(load(t))
	if second, _ := run(load(t)); first != second {
		t.Error("two runs differ")
	}
	// So that a change of the quarter is meant, and the same on every machine.
	const golden = "9764a5018dca694cd7afdcf7fefd3756fd09e25a2b667577c1d01fe5a3c9dd4c"
	if first != golden {
		t.Errorf("the quarter's digest is %s, want %s", first, golden)
	}
	if lines < 75_000 || lines > 85_000 {
		t.Errorf("%d events, want about 80,000", lines)
	}
}

func TestTimelineIsInOrderAndWithinItsTime(t *testing.T) {
	f := load(t)
	var last time.Time
	alive := map[string]StepKind{}
	for _, s := range f.Timeline() {
		if s.At.Before(last) {
			t.Fatalf("%s %s at %s comes after %s", s.Kind, s.Device, s.At, last)
		}
		last = s.At
		if s.At.Before(f.Setup) || !s.At.Before(Quarter().To) {
			t.Errorf("%s %s at %s is out of time", s.Kind, s.Device, s.At)
		}
		need := map[StepKind][]StepKind{
			RequestDevice:    {""},
			ApproveDevice:    {RequestDevice, ApproveDevice},
			EnrolDevice:      {ApproveDevice, ApproveTransfer},
			RequestTransfer:  {EnrolDevice},
			ApproveTransfer:  {RequestTransfer},
			SendUpload:       {EnrolDevice, QuarantineDevice, ReleaseDevice, RevokeDevice, RenewDevice, ShowOldKey},
			RenewDevice:      {EnrolDevice},
			ShowOldKey:       {RenewDevice},
			QuarantineDevice: {EnrolDevice},
			ReleaseDevice:    {QuarantineDevice},
			RevokeDevice:     {EnrolDevice, ReleaseDevice},
		}[s.Kind]
		if need != nil && !slices.Contains(need, alive[s.Device]) {
			t.Errorf("%s of %s at %s follows %q", s.Kind, s.Device, s.At, alive[s.Device])
		}
		if s.Kind != SendUpload && s.Device != "" && s.Alert == "" {
			alive[s.Device] = s.Kind
		}
	}
	if n := len(f.Timeline()); n < 5000 || n > 10_000 {
		t.Errorf("%d steps", n)
	}
}

func TestNobodyApprovesHisOwnRequestAndCriticalNeedsTwo(t *testing.T) {
	f := load(t)
	requester, approvers := map[string]string{}, map[string][]string{}
	for _, s := range f.Timeline() {
		switch s.Kind {
		case RequestDevice:
			requester[s.Device] = s.Actor
		case ApproveDevice:
			approvers[s.Device] = append(approvers[s.Device], s.Actor)
		}
	}
	for _, d := range f.Devices {
		want := 1
		if f.critical(d.Fleet) {
			want = 2
		}
		if d.Pending {
			want = 0
		}
		got := approvers[d.ID]
		if len(got) != want || slices.Contains(got, requester[d.ID]) || len(slices.Compact(slices.Sorted(slices.Values(got)))) != want {
			t.Errorf("%s requested by %s, approved by %v", d.ID, requester[d.ID], got)
		}
	}
}

// line is what an ingest reads of an event.
type line struct {
	Seq, Boot int64
	Time      time.Time
	Type, FW  string
	Data      json.RawMessage
}

func lines(t *testing.T, u Upload) []line {
	t.Helper()
	var out []line
	for _, raw := range bytes.Split(bytes.TrimSuffix(u.Body, []byte("\n")), []byte("\n")) {
		var l line
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&l); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		out = append(out, l)
	}
	return out
}

func TestSequencesTimesAndRegisters(t *testing.T) {
	f := load(t)
	missing := map[string]int64{}
	for _, d := range f.Devices {
		var boot, seq int64 = 1, 0
		register := 0.0
		for _, u := range f.Uploads(d) {
			if u.Expect.Status != 202 || u.Expect.Duplicate > 0 {
				continue
			}
			for _, l := range lines(t, u) {
				if l.Boot != boot {
					if l.Boot != boot+1 || l.Seq != 1 {
						t.Fatalf("%s: boot %d seq %d after boot %d", d.ID, l.Boot, l.Seq, boot)
					}
					boot, seq = l.Boot, 0
				}
				if l.Seq <= seq {
					t.Fatalf("%s: seq %d after %d", d.ID, l.Seq, seq)
				}
				missing[d.ID] += l.Seq - seq - 1
				seq = l.Seq
				if u.At.Sub(l.Time) > 6*24*time.Hour {
					t.Errorf("%s: %s is sent too late, at %s", d.ID, l.Time, u.At)
				}
				var data struct {
					Import *float64 `json:"import_kwh"`
					Energy *float64 `json:"energy_kwh"`
				}
				if err := json.Unmarshal(l.Data, &data); err != nil {
					t.Fatal(err)
				}
				for _, v := range []*float64{data.Import, data.Energy} {
					if v != nil && *v < register {
						t.Fatalf("%s: the register runs backwards at %s", d.ID, l.Time)
					} else if v != nil {
						register = *v
					}
				}
			}
		}
		if d.ID == "sn-em-09" && boot != 2 {
			t.Errorf("%s came back with boot %d", d.ID, boot)
		}
		if n := missing[d.ID]; (n != 0) != (d.ID == "sn-em-12") {
			t.Errorf("%s: %d numbers missing", d.ID, n)
		}
	}
	if missing["sn-em-12"] != 13 {
		t.Errorf("sn-em-12 misses %d numbers, want 13", missing["sn-em-12"])
	}
}

func TestTroubleShowsInTheUploads(t *testing.T) {
	f := load(t)
	total := func(id string) (e Expect, refused int, longest time.Duration) {
		last := device(t, f, id).Start()
		for _, u := range f.Uploads(device(t, f, id)) {
			if u.Expect.Status != 202 {
				refused++
				continue
			}
			longest, last = max(longest, u.At.Sub(last)), u.At
			e.Accepted += u.Expect.Accepted
			e.Duplicate += u.Expect.Duplicate
			e.DeadLettered += u.Expect.DeadLettered
			e.Ahead += u.Expect.Ahead
		}
		return e, refused, longest
	}
	if e, refused, longest := total("sn-em-03"); e != (Expect{Accepted: 2208}) || refused != 0 || longest > 13*time.Hour {
		t.Errorf("a device without trouble: %+v, refused %d, longest pause %s", e, refused, longest)
	}
	if e, _, _ := total("sn-em-06"); e.Duplicate != 12 || e.Accepted != 2208 {
		t.Errorf("resending: %+v, want 12 duplicates", e)
	}
	if e, _, _ := total("sn-gw-02"); e.Ahead != 8 || e.DeadLettered != 12 {
		t.Errorf("bad clock: %+v, want 8 ahead and 12 dead letters", e)
	}
	if e, _, _ := total("ws-hm-03"); e.DeadLettered != 60 {
		t.Errorf("out of range: %+v, want 60 dead letters", e)
	}
	if e, _, longest := total("sn-em-09"); longest < 4*24*time.Hour || e.Accepted != 2208-115 {
		t.Errorf("silent: %+v, longest pause %s", e, longest)
	}
	if e, refused, _ := total("ws-gw-02"); refused != 8 || e.Accepted != 2208 {
		t.Errorf("quarantined: %+v, %d refused; want 8 refused and nothing lost", e, refused)
	}
	if e, refused, _ := total("ws-em-04"); refused != 4 || e.Accepted != 48*24 {
		t.Errorf("revoked: %+v, %d refused", e, refused)
	}
}

func TestSchemasJudgeAsExpected(t *testing.T) {
	f := load(t)
	files, err := Schemas()
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(files, "*.schema.json")
	if err != nil || len(names) != len(f.Types) {
		t.Fatalf("%d schemas for %d types: %v", len(names), len(f.Types), err)
	}
	schemas := map[string]*jsonschema.Schema{}
	for _, name := range names {
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
		if schemas[strings.TrimSuffix(name, ".schema.json")], err = c.Compile(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range f.Devices {
		bad := 0
		for _, u := range f.Uploads(d) {
			for _, l := range lines(t, u) {
				schema := schemas[l.Type]
				if schema == nil {
					t.Fatalf("no schema for %s", l.Type)
				}
				doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(l.Data))
				if err != nil {
					t.Fatal(err)
				}
				if schema.Validate(doc) != nil {
					bad++
				}
			}
		}
		want := 0
		if d.ID == "ws-hm-03" {
			want = 60
		}
		if bad != want {
			t.Errorf("%s: %d readings violate their schema, want %d", d.ID, bad, want)
		}
	}
}
