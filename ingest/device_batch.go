package ingest

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"trustpack/evidence"
)

// Many devices are asked for with one CSV file (RFC 4180, UTF-8). Its first
// line names the columns: tenant, device, type and reason, and, where wanted,
// site and fleet.
const (
	maxBatch     = 10_000  // devices asked for at once
	maxBatchBody = 8 << 20 // bytes of the call that does
)

// RowProblem is what is wrong with one row.
type RowProblem struct {
	Line   int    `json:"line"` // of the file, from 1, which names the columns
	Tenant string `json:"tenant,omitempty"`
	Device string `json:"device,omitempty"`
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// BatchResult is what became of a batch of requests.
type BatchResult struct {
	Batch   string       `json:"batch"` // by which it is approved
	Devices []Requested  `json:"devices"`
	Refused []RowProblem `json:"refused,omitempty"` // rows of which nothing was done; only where that was asked for
}

// Requested is one device of a batch.
type Requested struct {
	Tenant     string `json:"tenant"`
	Device     string `json:"device"`
	Generation int    `json:"generation"`
}

type batchRow struct {
	line int
	DeviceRequest
}

// requestBatch asks for all devices of a file, or for none. Where partial is
// set, it asks for those whose rows stand, and says which do not.
func (s *Server) requestBatch(a *adminCall) (any, *Problem) {
	var in struct {
		CSV     string `json:"csv"`
		Partial bool   `json:"partial"`
	}
	if p := decodeJSONUpTo(a.w, a.r, &in, maxBatchBody); p != nil {
		return nil, p
	}
	a.target = "batch " + a.id
	rows, wrong, err := readBatch(in.CSV)
	if err != nil {
		return nil, problem(CodeInvalid, "csv: "+err.Error())
	}
	s.decide.Lock()
	defer s.decide.Unlock()
	all := len(rows) + len(wrong)
	var entries []evidence.AuditEntry
	seen := map[deviceName]int{}
	for _, row := range rows {
		e, p := s.request(row.DeviceRequest, a.id)
		name := deviceName{row.Tenant, row.Device}
		if line := seen[name]; p == nil && line > 0 {
			p = problem(CodeConflict, fmt.Sprintf("line %d asks for the same device", line))
		}
		if p != nil {
			wrong = append(wrong, RowProblem{row.line, clip(row.Tenant), clip(row.Device), p.Code, p.Detail})
			continue
		}
		seen[name] = row.line
		e.Type = evidence.EntryDeviceRequested
		entries = append(entries, e)
	}
	slices.SortStableFunc(wrong, func(a, b RowProblem) int { return a.Line - b.Line })
	if len(wrong) > 0 && (!in.Partial || len(entries) == 0) {
		return nil, rowsProblem(wrong, all)
	}
	if p := a.doneAll(entries); p != nil {
		return nil, p
	}
	if len(wrong) > 0 {
		if err := a.refuse(rowsProblem(wrong, all)); err != nil {
			return nil, s.failure(err)
		}
	}
	out := BatchResult{Batch: a.id, Devices: []Requested{}, Refused: wrong}
	for _, e := range entries {
		out.Devices = append(out.Devices, Requested{e.Tenant, e.Device, e.Generation})
	}
	a.status = http.StatusCreated
	return out, nil
}

func rowsProblem(wrong []RowProblem, all int) *Problem {
	p := problem(CodeInvalid, fmt.Sprintf("%d of %d rows cannot stand; the first is in line %d: %s", len(wrong), all, wrong[0].Line, wrong[0].Detail))
	p.Rows = wrong
	return p
}

// readBatch reads the rows. What is wrong with one row alone is in wrong; err
// is what keeps the file from being read at all, such as a stray quote, after
// which nobody can say where a row begins.
func readBatch(text string) (rows []batchRow, wrong []RowProblem, err error) {
	r := csv.NewReader(bytes.NewReader([]byte(strings.TrimPrefix(text, "\ufeff"))))
	r.FieldsPerRecord = -1
	head, err := r.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file is empty; its first line names the columns")
		}
		return nil, nil, err
	}
	columns, err := batchColumns(head)
	if err != nil {
		return nil, nil, err
	}
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		line, _ := r.FieldPos(0)
		if len(rows)+len(wrong) == maxBatch {
			return nil, nil, fmt.Errorf("more than %d rows; cut the file in two", maxBatch)
		}
		if len(cells) != len(head) {
			wrong = append(wrong, RowProblem{Line: line, Code: CodeInvalid, Detail: fmt.Sprintf("%d columns; the first line names %d", len(cells), len(head))})
			continue
		}
		row := batchRow{line: line}
		for i, cell := range cells {
			*columns[i](&row.DeviceRequest) = cell
		}
		rows = append(rows, row)
	}
	if len(rows)+len(wrong) == 0 {
		return nil, nil, errors.New("the file holds no row below its first line")
	}
	return rows, wrong, nil
}

// batchColumns says which part of a request each column is.
func batchColumns(head []string) ([]func(*DeviceRequest) *string, error) {
	known := map[string]func(*DeviceRequest) *string{
		"tenant": func(r *DeviceRequest) *string { return &r.Tenant }, "device": func(r *DeviceRequest) *string { return &r.Device },
		"type": func(r *DeviceRequest) *string { return &r.Type }, "site": func(r *DeviceRequest) *string { return &r.Site },
		"fleet": func(r *DeviceRequest) *string { return &r.Fleet }, "reason": func(r *DeviceRequest) *string { return &r.Reason },
	}
	var out []func(*DeviceRequest) *string
	seen := map[string]bool{}
	for _, name := range head {
		switch {
		case known[name] == nil:
			return nil, fmt.Errorf("line 1: there is no column %q; want tenant, device, type, reason, and site and fleet where wanted", clip(name))
		case seen[name]:
			return nil, fmt.Errorf("line 1: column %s stands twice", name)
		}
		seen[name] = true
		out = append(out, known[name])
	}
	for _, name := range []string{"tenant", "device", "type", "reason"} {
		if !seen[name] {
			return nil, fmt.Errorf("line 1: column %s is missing", name)
		}
	}
	return out, nil
}

// BatchApproval is what became of the devices of a batch that somebody
// approved.
type BatchApproval struct {
	Approved []ApprovedDevice `json:"approved"`
	// LeftOut are those that he could not approve: decided meanwhile, or
	// approved by him before.
	LeftOut []LeftOut `json:"left_out,omitempty"`
}

// ApprovedDevice is one device that was consented to. Code is empty where
// further approvals are needed.
type ApprovedDevice struct {
	Requested
	Approvals int       `json:"approvals"`
	Needed    int       `json:"needed"`
	Code      string    `json:"enrolment_code,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
}

// LeftOut is a device of a batch, and why it was not approved.
type LeftOut struct {
	Requested
	Why string `json:"why"`
}

// approveBatch consents to all devices of a batch that wait for it.
func (s *Server) approveBatch(a *adminCall) (any, *Problem) {
	reason, p := a.reason()
	if p != nil {
		return nil, p
	}
	batch := a.r.PathValue("batch")
	a.target = "batch " + clip(batch)
	s.decide.Lock()
	defer s.decide.Unlock()
	found, _ := s.st.findDevices(DeviceQuery{Batch: batch})
	if len(found) == 0 {
		return nil, problem(CodeNotFound, "there is no such batch")
	}
	var out BatchApproval
	var entries []evidence.AuditEntry
	var self *Problem
	for _, d := range found {
		name := Requested{d.key.tenant, d.key.id, d.key.generation}
		if p := s.mayApprove(a, d); p != nil {
			if p.Code == CodeApprovalSelf {
				self = p
			}
			out.LeftOut = append(out.LeftOut, LeftOut{name, p.Detail})
			continue
		}
		e, code, expires, p := s.consent(d, reason)
		if p != nil {
			return nil, p
		}
		entries = append(entries, e)
		needed := s.cfg().Approvals.needed(d.record.Fleet)
		out.Approved = append(out.Approved, ApprovedDevice{name, len(d.approvals) + 1, needed, code, expires})
		d.flow.Lock()
		defer d.flow.Unlock()
	}
	switch {
	case len(entries) == 0 && self != nil:
		return nil, self
	case len(entries) == 0:
		return nil, problem(CodeConflict, "none of its devices waits for approval; "+out.LeftOut[0].Why)
	}
	if p := a.doneAll(entries); p != nil {
		return nil, p
	}
	return out, nil
}
