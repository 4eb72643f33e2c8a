package telemetry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/ledger"
)

// replayStory replays the story's dead letter in the middle of the silence of
// the device that sent it, and says that its listing calls it state.
func replayStory(t *testing.T, state string) *served {
	s := story(t)
	letter := s.dead[0]["index"]
	s.append("nord", day(41, 12), map[string]any{"t": "event", "received": day(41, 12), "device": "m1", "gen": 1, "seq": 77, "replays": letter, "data": map[string]any{}})
	act := evidence.AuditEntry{Type: evidence.EntryLetterReplayed, Tenant: "nord", Device: "m1", Generation: 1, Actor: &evidence.Actor{Name: "ben", Role: "provisioner"}, Reason: "schema fixed", Result: "done"}
	s.control(day(41, 12), act, map[string]any{"index": letter})
	s.control(day(42), evidence.AuditEntry{Type: evidence.EntryBooksClosed, Tenant: "nord"}, evidence.Books{Tenant: "nord", Day: day(41).Format("2006-01-02"), Received: 1, Accepted: 1, Replayed: 1})
	s.dead[0]["state"] = state
	s.now = day(93)
	s.checkpoint()
	return s
}

func TestReplayedDeadLetterIsToldWithItsLineageAndIsNoSignOfLife(t *testing.T) {
	got := collectFrom(t, replayStory(t, "replayed"), Config{})
	d := got[KindDeadLetters].Population.Items[0].Attributes
	if got[KindDeadLetters].Completeness.State != evidence.Complete || d["state"] != "replayed" || d["decided_by"] != "ben" || d["decision_reason"] != "schema fixed" || d["replayed_as"] == "" {
		t.Errorf("%v %v", got[KindDeadLetters].Completeness, d)
	}
	if n := len(got[KindSilences].Population.Items); n != 1 {
		t.Fatalf("%d silences, want the one that the replay does not end", n)
	}
	if sil := got[KindSilences].Population.Items[0].Attributes; sil["since"] != ts(day(39, 18)) || sil["until"] != ts(day(43, 6)) {
		t.Errorf("%v", sil)
	}
	b := item(t, got[KindBooks], "nord/"+day(41).Format("2006-01-02"))
	if b["balanced"] != true || b["recounted"] != true {
		t.Errorf("%v", b)
	}
}

func TestListedStateOfADeadLetterIsHeldAgainstTheLog(t *testing.T) {
	incomplete(t, collectFrom(t, replayStory(t, "open"), Config{}), "by the control log it is replayed", KindDeadLetters)
}

// A dead letter is included where the tenant's log commits to what is listed of
// it, and to that alone.
func TestADeadLetterIsHeldToItsEntry(t *testing.T) {
	for change, included := range map[string]bool{"": true, "device": false, "reason": false, "salt": false, "bytes": false} {
		s := story(t)
		if change != "" {
			s.dead[0][change] = "0000"
		}
		if got := collectFrom(t, s, Config{})[KindDeadLetters].Population.Items[0].Attributes["included"]; got != included {
			t.Errorf("with another %q: included is %v", change, got)
		}
	}
	s := story(t)
	s.dead[0]["bytes"], s.dead[0]["purged"] = nil, true
	if at := collectFrom(t, s, Config{})[KindDeadLetters].Population.Items[0].Attributes; at["included"] != true {
		t.Errorf("one whose bytes were purged: %v", at)
	}
}

func TestDeadLettersThatAreNotListed(t *testing.T) {
	s := story(t)
	s.dead = []map[string]any{}
	gapsSay(t, collectFrom(t, s, Config{})[KindDeadLetters], "dead letters of nord", "lists 0 in the period and the tenant's log holds 1")
}

// A proof of another entry than the log's proves nothing.
func TestAProofOfADeadLetterThatDoesNotHold(t *testing.T) {
	s := story(t)
	s.broken["/v1/admin/excerpt/nord"] = func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		s.answer(rec, r)
		var e ledger.Excerpt
		if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil {
			t.Error(err)
		}
		for i := range e.Records {
			e.Records[i].Entry = append(e.Records[i].Entry, ' ')
		}
		if err := json.NewEncoder(w).Encode(e); err != nil {
			t.Error(err)
		}
	}
	e := collectFrom(t, s, Config{})[KindDeadLetters]
	if at := e.Population.Items[0].Attributes; at["included"] != false || !strings.Contains(fmt.Sprint(e.Completeness.Gaps), "proofs of dead letters of nord") {
		t.Errorf("%v, %v", at, e.Completeness.Gaps)
	}
}
