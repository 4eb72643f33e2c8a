package ingest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"trustpack/evidence"
	"trustpack/ledger"
)

// exported gives the events of an export in the order of the tenant's log,
// from which alone it reads.
func (s *Server) exported(ctx context.Context, x evidence.Export, each func(index int64, data []byte, e *tenantEntry) error) error {
	if x.Until == 0 {
		return nil
	}
	// Entries are made durable after they are received, and by the same clock.
	first, end, err := s.led.PayloadRange(x.Tenant, x.From, x.To.Add(longestAppend))
	if err != nil {
		return fmt.Errorf("reading events for an export: %w", err)
	}
	index := first - 1
	for data, err := range s.led.Entries(x.Tenant, first, min(end, x.Until)) {
		if err != nil {
			return fmt.Errorf("reading events for an export: %w", err)
		}
		if index++; index%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		var e tenantEntry
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("reading entry %d for an export: %w", index, err)
		}
		if e.T != "event" || e.Received.Before(x.From) || !e.Received.Before(x.To) || x.Device != "" && e.Device != x.Device || x.EventType != "" && e.Type != x.EventType {
			continue
		}
		if err := each(index, data, &e); err != nil {
			return err
		}
	}
	return nil
}

// longestAppend is longer than it can take from the receipt of a request to
// where the ledger notes that it makes it durable.
const longestAppend = time.Hour

// payload is what an event commits to and its salt in hex. For one that was
// purged both are empty; for one of a log from before payloads, the salt is.
func (s *Server) payload(tenantID string, index int64, e *tenantEntry) (payload []byte, salt string, err error) {
	if e.Payload == "" {
		return e.Data, "", nil
	}
	payload, secret, err := s.led.Payload(tenantID, index)
	if errors.Is(err, ledger.ErrPurged) {
		return nil, "", nil
	}
	return payload, hex.EncodeToString(secret), err
}

// exportRow is a row of NDJSON: index and salt, then the members of the entry
// as it stands in the log, and last the payload as it was sent. So the entry is
// what stands between salt and data, in braces, and its member "payload" is the
// hex of SHA-256(salt || data). Data with a line break in it is given as
// "data_base64" instead; one that was purged is missing, and "purged" is true.
func exportRow(b []byte, index int64, salt string, entry, payload []byte) []byte {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, index, 10)
	if salt != "" {
		b = append(append(append(b, `,"salt":"`...), salt...), '"')
	}
	b = append(append(b, ','), entry[1:len(entry)-1]...)
	switch {
	case payload == nil:
		b = append(b, `,"purged":true`...)
	case salt == "": // it is in the entry
	case bytes.ContainsAny(payload, "\n\r"):
		b = base64.StdEncoding.AppendEncode(append(b, `,"data_base64":"`...), payload)
		b = append(b, '"')
	default:
		b = append(append(b, `,"data":`...), payload...)
	}
	return append(b, '}', '\n')
}

// writeExport writes the file: as NDJSON an exportRow for each event, as CSV a
// header and a row for each, with salt and commitment.
func (s *Server) writeExport(ctx context.Context, w io.Writer, x evidence.Export) (rows int64, err error) {
	buffered := bufio.NewWriterSize(w, 1<<16)
	table := csv.NewWriter(buffered)
	if x.Format == "csv" {
		if err := table.Write([]string{"index", "received", "device", "generation", "boot", "seq", "time", "type", "firmware", "flags", "data", "salt", "payload"}); err != nil {
			return 0, err
		}
	}
	var row []byte
	err = s.exported(ctx, x, func(index int64, data []byte, e *tenantEntry) error {
		rows++
		payload, salt, err := s.payload(x.Tenant, index, e)
		if err != nil {
			return err
		}
		if x.Format == "csv" {
			return table.Write([]string{
				itoa(index), e.Received.Format(time.RFC3339Nano), e.Device, strconv.Itoa(e.Gen), itoa(e.Boot), itoa(*e.Seq), cell(e.Time), cell(e.Type), cell(e.FW),
				strings.Join(e.Flags, " "), string(payload), salt, e.Payload,
			})
		}
		row = exportRow(row[:0], index, salt, data, payload)
		_, err = buffered.Write(row)
		return err
	})
	table.Flush()
	return rows, errors.Join(err, table.Error(), buffered.Flush())
}

// cell keeps a text that a device chose from being a formula to a spreadsheet.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// exportDir holds files of exports for as long as they are fetched.
func (s *Server) exportDir() string { return filepath.Join(s.o.Dir, "exports") }

// clearExports removes what a crash left there: a tenant's rows, which no purge
// would reach.
func (s *Server) clearExports() error {
	if err := os.RemoveAll(s.exportDir()); err != nil {
		return fmt.Errorf("removing what was left of an export: %w", err)
	}
	return nil
}

// getExport writes the file, enters its digest, rows and bytes in the log, and
// only then lets it leave. Whoever asked for it fetches it; each time is an
// entry.
func (s *Server) getExport(a *adminCall) (any, *Problem) {
	if p := a.decode(&struct{}{}); p != nil {
		return nil, p
	}
	x, p := s.namedExport(a)
	if p != nil {
		return nil, p
	}
	switch {
	case x.Requester != a.op.Name:
		return nil, problem(CodeForbidden, "the export is its requester's to fetch")
	case x.State == ExportDeclined:
		return nil, problem(CodeConflict, "the export was declined by "+x.Decliner)
	case x.State != ExportReady:
		return nil, problem(CodeConflict, "the export waits for an approver")
	}
	if err := a.takeTime(); err != nil {
		return nil, s.failure(err)
	}
	dir := s.exportDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, s.failure(fmt.Errorf("writing an export: %w", err))
	}
	f, err := os.CreateTemp(dir, "export-*") // mode 0600
	if err != nil {
		return nil, s.failure(fmt.Errorf("writing an export: %w", err))
	}
	defer func() {
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			s.log.Error("removing the file of an export failed", "error", err)
		}
	}()
	digest := sha256.New()
	rows, err := s.writeExport(a.r.Context(), io.MultiWriter(f, digest), x.Export)
	if err == nil && rows != x.Rows {
		err = fmt.Errorf("export %s has %d rows and had %d when it was requested", x.ID, rows, x.Rows)
	}
	size, serr := f.Seek(0, io.SeekCurrent)
	_, rerr := f.Seek(0, io.SeekStart)
	if err = errors.Join(err, serr, rerr); err != nil {
		return nil, s.failure(fmt.Errorf("writing an export: %w", err))
	}
	if p := s.enterExport(a, x.ID, rows, size, digest.Sum(nil)); p != nil {
		return nil, p
	}
	kind := "application/x-ndjson"
	if x.Format == "csv" {
		kind = "text/csv; charset=utf-8"
	}
	h := a.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", itoa(size))
	h.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest.Sum(nil))+":") // RFC 9530
	h.Set("Cache-Control", "no-store")
	a.w.WriteHeader(http.StatusOK)
	a.deliver(f)
	return nil, nil
}

// takeTime lets the call last longer than others may: it reads a whole log.
func (a *adminCall) takeTime() error {
	return http.NewResponseController(a.w).SetWriteDeadline(time.Now().Add(time.Hour))
}

// enterExport records that a file leaves, unless it may not any more.
func (s *Server) enterExport(a *adminCall, id string, rows, size int64, digest []byte) *Problem {
	s.decide.Lock()
	defer s.decide.Unlock()
	x, p := s.namedExport(a)
	if p != nil {
		return p
	}
	if p := a.done(evidence.EntryExport, evidence.AuditEntry{
		Tenant: x.Tenant, Target: id, Reason: x.Reason,
		Data: raw(map[string]any{
			"id": id, "requester": x.Requester, "approver": x.Approver, "scope": scope(x.Export), "rows": rows, "bytes": size,
			"sha256": hex.EncodeToString(digest), "destination": x.Destination, "format": x.Format,
		}),
	}); p != nil {
		return p
	}
	if err := s.exportSpike(x.Tenant); err != nil {
		return s.failure(err)
	}
	return nil
}
