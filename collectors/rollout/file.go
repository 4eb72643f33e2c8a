package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"trustpack/evidence"
	"trustpack/internal/strictyaml"
)

// maxFile bounds one rollout file; 100,000 devices by name take about 10 MiB.
const maxFile = 32 << 20

// File is the schema of a rollout file, in YAML or JSON. An unknown key is an
// error with its place.
//
//	id: heat-2.8.1                 # unique; items carry it
//	name: Heat meter 2.8.1
//	firmware: 2.8.1                # the version that devices report afterwards
//	artifact_sha256: 6f…           # 64 hex digits
//	device_type: heat-meter
//	fleet_size: 10                 # devices that it is meant for, all stages
//	requester: dmitri.volk
//	approver: carla.ruiz
//	approved_at: 2026-09-02T09:30:00Z
//	change: owner/repository#41    # may be left out
//	started_at: 2026-09-03T06:00:00Z
//	finished_at: 2026-09-03T11:20:00Z
//	state: rolled-back             # planned, approved, running, paused, finished, stopped, rolled-back
//	rollback:                      # exactly where state is rolled-back
//	  trigger: error ratio over the threshold
//	  decided_by: ben.okafor
//	  decided_at: 2026-09-03T10:50:00Z
//	  incident: incidents/2026-09-heat-meter.md
//	stages:                        # in the order in which they ran
//	  - name: canary
//	    started_at: 2026-09-03T06:00:00Z
//	    finished_at: 2026-09-03T10:40:00Z
//	    success_threshold: 1.0     # share of the stage's devices, 0 to 1
//	    error_threshold: 0.1
//	    devices:                   # or: counts: {succeeded: 0, failed: 1, pending: 0}
//	      - {device: ws-hm-07, status: failed, at: 2026-09-03T10:40:00Z}
//	  - name: everywhere
//	    counts: {succeeded: 0, failed: 0, pending: 9}
//
// A device's status is succeeded, failed or pending.
type File struct {
	ID             string    `yaml:"id"`
	Name           string    `yaml:"name"`
	Firmware       string    `yaml:"firmware"`
	ArtifactSHA256 string    `yaml:"artifact_sha256"`
	DeviceType     string    `yaml:"device_type"`
	FleetSize      int       `yaml:"fleet_size"`
	Requester      string    `yaml:"requester"`
	Approver       string    `yaml:"approver"`
	ApprovedAt     When      `yaml:"approved_at"`
	Change         string    `yaml:"change"`
	StartedAt      When      `yaml:"started_at"`
	FinishedAt     When      `yaml:"finished_at"`
	State          string    `yaml:"state"`
	Rollback       *Rollback `yaml:"rollback"`
	Stages         []Stage   `yaml:"stages"`
}

// Rollback is why and by whom a rollout was taken back.
type Rollback struct {
	Trigger   string `yaml:"trigger"`
	DecidedBy string `yaml:"decided_by"`
	DecidedAt When   `yaml:"decided_at"`
	Incident  string `yaml:"incident"`
}

// Stage is one cohort. It has Devices or Counts.
type Stage struct {
	Name             string   `yaml:"name"`
	StartedAt        When     `yaml:"started_at"`
	FinishedAt       When     `yaml:"finished_at"`
	SuccessThreshold *float64 `yaml:"success_threshold"`
	ErrorThreshold   *float64 `yaml:"error_threshold"`
	Devices          []Device `yaml:"devices"`
	Counts           *Counts  `yaml:"counts"`
}

// Device is the outcome on one device.
type Device struct {
	Device string `yaml:"device"`
	Status string `yaml:"status"`
	At     When   `yaml:"at"`
	Note   string `yaml:"note"`
}

// Counts are outcomes where devices are not listed by name.
type Counts struct {
	Succeeded int `yaml:"succeeded"`
	Failed    int `yaml:"failed"`
	Pending   int `yaml:"pending"`
}

// When is an RFC 3339 time; the zero value is one that was left out.
type When struct{ time.Time }

// UnmarshalYAML reads 2026-09-03T06:00:00Z.
func (w *When) UnmarshalYAML(n *yaml.Node) error {
	t, err := time.Parse(time.RFC3339, n.Value)
	if err != nil {
		return fmt.Errorf("want a time such as 2026-09-03T06:00:00Z, got %q", n.Value)
	}
	w.Time = t.UTC()
	return nil
}

// files reads the folder. A file that cannot be used is a gap; the others stand.
func (c *collector) files(ctx context.Context, t *trace) []rollout {
	base := filepath.Base(filepath.Clean(c.config.Folder))
	root, err := os.OpenRoot(c.config.Folder)
	if err != nil {
		t.gap("folder "+base, "it cannot be opened: "+causeOf(err))
		return nil
	}
	defer root.Close() // nothing was written through it
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		t.gap("folder "+base, "it cannot be listed: "+causeOf(err))
		return nil
	}
	var out []rollout
	seen := map[string]string{}
	for _, d := range entries {
		name := d.Name()
		if !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)) || strings.HasPrefix(name, ".") || d.IsDir() {
			continue
		}
		if ctx.Err() != nil {
			t.gap("folder "+base, "the reading was stopped: "+ctx.Err().Error())
			return out
		}
		r, err := c.file(root, name, t)
		if err == nil && seen[r.id] != "" {
			err = fmt.Errorf("%s: id %q stands in %s too", name, r.id, seen[r.id])
		}
		if err != nil {
			t.gap(name, err.Error())
			continue
		}
		seen[r.id] = name
		out = append(out, r)
	}
	return out
}

func (c *collector) file(root *os.Root, name string, t *trace) (rollout, error) {
	req := evidence.Request{Method: "READ", Target: name, StartedAt: c.deps.Now().UTC()}
	body, err := readFile(root, name)
	req.EndedAt = c.deps.Now().UTC()
	if err != nil {
		req.Error = err.Error()
	} else {
		req.ReplySHA256 = evidence.SHA256Hex(body)
		t.raw = append(t.raw, evidence.RawReply{Name: "files/" + url.PathEscape(name), Body: body})
	}
	t.requests = append(t.requests, req)
	if err != nil {
		return rollout{}, err
	}
	var f File
	if err := strictyaml.Decode(name, body, &f); err != nil {
		return rollout{}, err
	}
	r, err := f.rollout()
	if err != nil {
		return rollout{}, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

func readFile(root *os.Root, name string) ([]byte, error) {
	info, err := root.Lstat(name)
	switch {
	case err != nil:
		return nil, errors.New("it cannot be read: " + causeOf(err))
	case !info.Mode().IsRegular():
		return nil, errors.New("it is a link or a special file: put the file itself there")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("it is larger than %d MiB", maxFile>>20)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, errors.New("it cannot be read: " + causeOf(err))
	}
	defer f.Close() // read only
	body, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, errors.New("it cannot be read: " + causeOf(err))
	}
	return body, nil
}

// causeOf leaves out the machine's paths.
func causeOf(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// States lists the states that a rollout file may give.
func States() []string {
	return []string{"planned", "approved", "running", "paused", "finished", "stopped", "rolled-back"}
}

// rollout checks what the types cannot and counts the outcomes.
func (f File) rollout() (rollout, error) {
	if err := f.check(); err != nil {
		return rollout{}, err
	}
	r := rollout{
		id: f.ID, source: "file", name: cmp.Or(f.Name, f.ID), firmware: f.Firmware,
		artifact: f.ArtifactSHA256, deviceType: f.DeviceType, fleet: f.FleetSize,
		requester: f.Requester, approver: f.Approver, approvedAt: f.ApprovedAt.Time, change: f.Change,
		started: f.StartedAt.Time, finished: f.FinishedAt.Time, state: f.State,
		paused: f.State == "paused", rolledBack: f.State == "rolled-back",
	}
	if f.Rollback != nil {
		r.trigger = f.Rollback.Trigger
	}
	inStages := 0
	seen := map[string]bool{}
	for i, s := range f.Stages {
		st, err := s.stage(i+1, seen)
		if err != nil {
			return rollout{}, fmt.Errorf("stages[%d]: %w", i, err)
		}
		inStages += st.devices()
		r.stages = append(r.stages, st)
	}
	if inStages > f.FleetSize {
		return rollout{}, fmt.Errorf("the stages hold %d devices, fleet_size is %d", inStages, f.FleetSize)
	}
	return r, nil
}

func (f File) check() error {
	for _, must := range []struct{ key, value string }{
		{"id", f.ID}, {"firmware", f.Firmware}, {"device_type", f.DeviceType}, {"requester", f.Requester}, {"state", f.State},
	} {
		if must.value == "" {
			return fmt.Errorf("%s is missing", must.key)
		}
	}
	switch {
	case !slices.Contains(States(), f.State):
		return fmt.Errorf("state %q is not known: want one of %s", f.State, strings.Join(States(), ", "))
	case strings.HasPrefix(f.ID, "hawkbit/"):
		return errors.New(`id: "hawkbit/" is kept for rollouts read from a server`)
	case f.FleetSize <= 0:
		return errors.New("fleet_size: want the number of devices that the rollout is meant for")
	case f.ArtifactSHA256 != "" && !isSHA256(f.ArtifactSHA256):
		return errors.New("artifact_sha256: want 64 hex digits in lower case")
	case (f.Rollback != nil) != (f.State == "rolled-back"):
		return errors.New("state rolled-back and the section rollback go together")
	case f.Rollback != nil && f.Rollback.Trigger == "":
		return errors.New("rollback.trigger is missing: say what made you take it back")
	case !f.FinishedAt.IsZero() && f.FinishedAt.Before(f.StartedAt.Time):
		return errors.New("finished_at is before started_at")
	case len(f.Stages) == 0:
		return errors.New("stages is empty: a rollout has at least one")
	}
	return nil
}

func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// stage counts the outcomes; seen holds the devices of the stages before.
func (s Stage) stage(order int, seen map[string]bool) (stage, error) {
	out := stage{name: s.Name, order: order, started: s.StartedAt.Time, finished: s.FinishedAt.Time, success: s.SuccessThreshold, failure: s.ErrorThreshold}
	for key, share := range map[string]*float64{"success_threshold": s.SuccessThreshold, "error_threshold": s.ErrorThreshold} {
		if share != nil && !(*share >= 0 && *share <= 1) {
			return stage{}, fmt.Errorf("%s: want a share from 0 to 1, got %v", key, *share)
		}
	}
	switch {
	case s.Name == "":
		return stage{}, errors.New("name is missing")
	case (s.Counts != nil) == (len(s.Devices) > 0):
		return stage{}, errors.New("give either devices or counts")
	case !s.FinishedAt.IsZero() && s.FinishedAt.Before(s.StartedAt.Time):
		return stage{}, errors.New("finished_at is before started_at")
	}
	if n := s.Counts; n != nil {
		if n.Succeeded < 0 || n.Failed < 0 || n.Pending < 0 {
			return stage{}, errors.New("counts: a count is below zero")
		}
		out.succeeded, out.failed, out.pending = n.Succeeded, n.Failed, n.Pending
	}
	for _, d := range s.Devices {
		if d.Device == "" || seen[d.Device] {
			return stage{}, fmt.Errorf("devices: %q is empty or stands in the rollout twice", d.Device)
		}
		seen[d.Device] = true
		if err := out.count(d.Status); err != nil {
			return stage{}, fmt.Errorf("devices: %s: %w", d.Device, err)
		}
	}
	return out, nil
}

func (s *stage) count(status string) error {
	switch status {
	case "succeeded":
		s.succeeded++
	case "failed":
		s.failed++
	case "pending":
		s.pending++
	default:
		return fmt.Errorf("status %q is not known: want succeeded, failed or pending", status)
	}
	return nil
}
