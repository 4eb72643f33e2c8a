package telemetry

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"trustpack/evidence"
)

// deviceRecord is a device as GET /v1/admin/devices lists it.
type deviceRecord struct {
	evidence.Device
	LastSeen time.Time `json:"last_seen"`
	Accepted int64     `json:"accepted"`
}

// operatorRecord is an operator as GET /v1/admin/operators lists it.
type operatorRecord struct {
	evidence.Operator
}

// deadLetter is one as GET /v1/admin/deadletters lists it.
type deadLetter struct {
	Tenant   string    `json:"tenant"`
	Index    int64     `json:"index"`
	Received time.Time `json:"received"`
	Device   string    `json:"device"`
	Reason   string    `json:"reason"`
	Detail   string    `json:"detail"`
	Bytes    []byte    `json:"bytes"`
	Salt     string    `json:"salt"`   // hex; empty in entries that hold the bytes themselves
	Purged   bool      `json:"purged"` // there are no bytes any more
	State    string    `json:"state"`
}

// readAdmin asks for the state: configuration, registry, operators and dead
// letters.
func (r *run) readAdmin() {
	r.principal = "unknown: the ingest did not say"
	r.configReply = r.get("/v1/admin/config")
	r.configReply.err = r.configReply.decode(&r.setup)
	if r.configReply.err == nil {
		r.configReply.err = json.Unmarshal(r.setup.Config, &r.setup.settings)
	}
	r.sample = r.setup.Sample
	r.simulated = r.setup.Clock == evidence.ClockSimulated
	if r.setup.Operator != "" {
		r.principal = "operator " + r.setup.Operator
	}

	r.readDevices()

	r.operatorsReply = r.get("/v1/admin/operators")
	var operators struct {
		Operators []operatorRecord `json:"operators"`
	}
	r.operatorsReply.err = r.operatorsReply.decodeList("operators", &operators)
	r.opers = operators.Operators

	r.readTenants()
	r.readExports()
	r.readDeadLetters()
}

// readDevices pages to the end, or to the first page that fails, which fails
// the whole: a registry that was read in part is none to judge by.
func (r *run) readDevices() {
	next, seen := "", map[string]bool{}
	for {
		rep := r.get("/v1/admin/devices?limit=1000&after=" + url.QueryEscape(next))
		rep.request.Page = len(r.devicePages) + 1
		var got struct {
			Devices []deviceRecord `json:"devices"`
			Next    string         `json:"next"`
		}
		rep.err = rep.decodeList("devices", &got)
		if rep.err == nil {
			rep.err = goesOn(rep.request.Page, len(got.Devices), got.Next, seen)
		}
		r.devicePages = append(r.devicePages, rep)
		if rep.err != nil {
			r.devicesReply, r.devs = rep, nil
			return
		}
		r.devicesReply, r.devs = r.devicePages[0], append(r.devs, got.Devices...)
		if got.Next == "" {
			return
		}
		next, seen[got.Next] = got.Next, true
	}
}

// goesOn is an error where following next from a page of n would never end.
func goesOn(page, n int, next string, seen map[string]bool) error {
	switch {
	case next == "":
	case seen[next]:
		return fmt.Errorf("page %d names one before it as the next", page)
	case n == 0:
		return fmt.Errorf("page %d holds nothing and names another", page)
	}
	return nil
}

// fromDevices records the pages of the registry as the part's source.
func (r *run) fromDevices(p *part) {
	for i, page := range r.devicePages {
		name := "devices.json"
		if i > 0 {
			name = fmt.Sprintf("devices-%d.json", i+1)
		}
		p.from(page, name, "device registry")
	}
}

// readDeadLetters pages to the end, or to the first page that fails.
func (r *run) readDeadLetters() {
	next, seen := "", map[string]bool{}
	for page := 1; ; page++ {
		rep := r.get("/v1/admin/deadletters?limit=500&from=" + url.QueryEscape(next))
		rep.request.Page = page
		var got struct {
			DeadLetters []deadLetter `json:"deadletters"`
			Next        string       `json:"next"`
		}
		rep.err = rep.decodeList("deadletters", &got)
		if rep.err == nil {
			rep.err = goesOn(page, len(got.DeadLetters), got.Next, seen)
		}
		r.deadLetterReplies = append(r.deadLetterReplies, rep)
		r.dead = append(r.dead, got.DeadLetters...)
		if rep.err != nil || got.Next == "" {
			return
		}
		next, seen[got.Next] = got.Next, true
	}
}
