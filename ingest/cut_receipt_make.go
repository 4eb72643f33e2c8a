package ingest

import (
	"bytes"
	"fmt"

	"trustpack/ledger"
)

// showReceipt gives the receipt of the decision that shuts the device out: of
// the latest generation, or of the one that the query names.
func (s *Server) showReceipt(a *adminCall) (any, *Problem) {
	d, p := s.generation(a)
	if p != nil {
		return nil, p
	}
	s.st.mu.RLock()
	decision, state := d.decision, d.record.State
	s.st.mu.RUnlock()
	if decision == nil {
		return nil, problem(CodeConflict, "the device is "+string(state)+"; there is no decision that shuts it out")
	}
	r, err := s.cutReceipt(d, decision)
	if err != nil {
		return nil, s.failure(err)
	}
	return r, nil
}

// generation finds the device of the path in the generation of the query.
func (s *Server) generation(a *adminCall) (*device, *Problem) {
	a.tenant, a.device = clip(a.r.PathValue("tenant")), clip(a.r.PathValue("device"))
	name := a.r.URL.Query().Get("generation")
	if name == "" {
		if d := s.st.device(a.r.PathValue("tenant"), a.r.PathValue("device")); d != nil {
			return d, nil
		}
		return nil, problem(CodeNotFound, "there is no such device")
	}
	key, ok := readPlace(a.r.PathValue("tenant") + "/" + a.r.PathValue("device") + "/" + name)
	if !ok {
		return nil, problem(CodeInvalid, "generation: want a whole number from 1")
	}
	s.st.mu.RLock()
	defer s.st.mu.RUnlock()
	if d := s.st.devices[key]; d != nil {
		return d, nil
	}
	return nil, problem(CodeNotFound, "there is no such generation of the device")
}

// cutReceipt looks for what followed the decision in the control log, up to a
// checkpoint of now.
func (s *Server) cutReceipt(d *device, decision *Decision) (*CutReceipt, error) {
	note, p := s.checkpoint(controlLog)
	if p != nil {
		return nil, p
	}
	vkey, err := s.led.VerifierKey(controlLog)
	if err != nil {
		return nil, err
	}
	head, err := ledger.OpenCheckpoint(note, vkey)
	if err != nil {
		return nil, err
	}
	r := &CutReceipt{Tenant: d.key.tenant, Device: d.key.id, Generation: d.key.generation, Entries: head.Size}
	records, err := r.look(s.led, decision, head.Size)
	if err != nil {
		return nil, fmt.Errorf("reading the control log for a receipt: %w", err)
	}
	if r.FirstRefused == nil {
		r.Note = fmt.Sprintf("No attempt of the device was refused after the decision in the %d entries of the log so far. That shows nothing of whether one would be.", head.Size)
	}
	if r.Excerpt, err = s.led.ExcerptTo(controlLog, head.Size, head.Size, records); err != nil {
		return nil, err
	}
	r.Excerpt.Previous = "" // it is the checkpoint itself: no history is wanted
	return r, nil
}

// look reads the entries from the decision up to size, and lists those that
// the receipt cites.
func (r *CutReceipt) look(led *ledger.Ledger, decision *Decision, size int64) (records []int64, err error) {
	id := raw(r.Device)
	index := decision.Index - 1
	for data, err := range led.Entries(controlLog, decision.Index, size) {
		if err != nil {
			return nil, err
		}
		index++
		if !bytes.Contains(data, id) {
			continue
		}
		e, err := readAudit(data)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", index, err)
		}
		if index == decision.Index {
			if r.Decision, err = r.readDecision(index, decision.Action, &e); err != nil {
				return nil, err
			}
			records = append(records, index)
			continue
		}
		if c := r.readCut(index, &e); c != nil && r.Cut == nil {
			r.Cut, records = c, append(records, index)
		}
		if f := r.readRefused(index, &e); f != nil && r.FirstRefused == nil {
			r.FirstRefused, records = f, append(records, index)
		}
		if r.Cut != nil && r.FirstRefused != nil {
			break
		}
	}
	return records, nil
}
