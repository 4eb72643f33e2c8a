package ingest

import (
	"net/url"
	"slices"
	"strconv"
	"time"
)

// States of an alert.
const (
	AlertOpen         = "open"
	AlertAcknowledged = "acknowledged"
	AlertResolved     = "resolved"
)

// AlertView is an alert as the admin API shows it.
type AlertView struct {
	AlertRecord
	State    string `json:"state"` // AlertOpen, AlertAcknowledged or AlertResolved
	Severity string `json:"severity"`
	// Seconds from when it was raised; left out where it was not done.
	AcknowledgeSeconds *float64 `json:"acknowledge_s,omitempty"`
	ResolveSeconds     *float64 `json:"resolve_s,omitempty"`
}

func viewOf(a AlertRecord) AlertView {
	v := AlertView{AlertRecord: a, State: AlertOpen, Severity: alertSeverity(a.Kind)}
	since := func(at *time.Time) *float64 {
		if at == nil {
			return nil
		}
		s := at.Sub(a.RaisedAt).Seconds()
		return &s
	}
	v.AcknowledgeSeconds, v.ResolveSeconds = since(a.AcknowledgedAt), since(a.ResolvedAt)
	switch {
	case a.ResolvedAt != nil:
		v.State = AlertResolved
	case a.AcknowledgedAt != nil:
		v.State = AlertAcknowledged
	}
	return v
}

// AlertQuery says which alerts are wanted. The zero value wants all.
type AlertQuery struct {
	Kind     string
	Tenant   string
	State    string    // AlertOpen, AlertAcknowledged or AlertResolved
	Delivery string    // with one in this state: DeliveryWaiting, DeliveryDelivered or DeliveryUndelivered
	From, To time.Time // when it was raised, half open
}

// maxAlertPage is how many alerts one answer holds at most.
const maxAlertPage = 500

// query is q as the parameters of a URL.
func (q AlertQuery) query() url.Values {
	out := url.Values{}
	for key, v := range map[string]string{"kind": q.Kind, "tenant": q.Tenant, "state": q.State, "delivery": q.Delivery} {
		if v != "" {
			out.Set(key, v)
		}
	}
	for key, t := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !t.IsZero() {
			out.Set(key, t.UTC().Format(time.RFC3339Nano))
		}
	}
	return out
}

// parseAlertQuery reads the parameters of a URL. One that it does not know is
// refused: whoever misspells a filter must not take all for what he asked for.
func parseAlertQuery(v url.Values) (q AlertQuery, limit int, after string, p *Problem) {
	limit = maxAlertPage
	for key, values := range v {
		if len(values) != 1 {
			return q, 0, "", problem(CodeInvalid, clip(key)+": give it once")
		}
		text, err := values[0], error(nil)
		switch key {
		case "kind":
			q.Kind = text
		case "tenant":
			q.Tenant = text
		case "state":
			if q.State = text; !slices.Contains([]string{AlertOpen, AlertAcknowledged, AlertResolved}, text) {
				return q, 0, "", problem(CodeInvalid, "state: want open, acknowledged or resolved")
			}
		case "delivery":
			if q.Delivery = text; !slices.Contains([]string{DeliveryWaiting, DeliveryDelivered, DeliveryUndelivered}, text) {
				return q, 0, "", problem(CodeInvalid, "delivery: want waiting, delivered or undelivered")
			}
		case "from":
			q.From, err = alertTime(text)
		case "to":
			q.To, err = alertTime(text)
		case "limit":
			if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxAlertPage {
				return q, 0, "", problem(CodeInvalid, "limit: want 1 to "+strconv.Itoa(maxAlertPage))
			}
		case "after":
			after = text
		default:
			return q, 0, "", problem(CodeInvalid, "there is no filter "+clip(key)+"; want kind, tenant, state, delivery, from, to, limit or after")
		}
		if err != nil {
			return q, 0, "", problem(CodeInvalid, key+": want a time such as 2026-07-01T10:00:00Z, or a day such as 2026-07-01")
		}
	}
	return q, limit, after, nil
}

func alertTime(text string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

func (q AlertQuery) wants(a AlertView) bool {
	return (q.Kind == "" || a.Kind == q.Kind) && (q.Tenant == "" || a.Tenant == q.Tenant) && (q.State == "" || a.State == q.State) &&
		(q.Delivery == "" || slices.ContainsFunc(a.Deliveries, func(d AlertDelivery) bool { return d.State == q.Delivery })) &&
		(q.From.IsZero() || !a.RaisedAt.Before(q.From)) && (q.To.IsZero() || a.RaisedAt.Before(q.To))
}

// showAlerts lists alerts, newest first; next is where the following page
// begins, empty on the last.
func (s *Server) showAlerts(a *adminCall) (any, *Problem) {
	q, limit, after, p := parseAlertQuery(a.r.URL.Query())
	if p != nil {
		return nil, p
	}
	if q.Tenant, p = a.onlyTenant(q.Tenant); p != nil {
		return nil, p
	}
	all := slices.DeleteFunc(s.listAlerts(), func(x AlertRecord) bool { return q.Tenant != "" && x.Tenant != q.Tenant })
	if after != "" {
		at := slices.IndexFunc(all, func(x AlertRecord) bool { return x.ID == after })
		if at < 0 {
			return nil, problem(CodeInvalid, "after: there is no such alert")
		}
		all = all[at+1:]
	}
	out, next := []AlertView{}, ""
	for _, x := range all {
		v := viewOf(x)
		if !q.wants(v) {
			continue
		}
		if len(out) == limit {
			next = out[limit-1].ID
			break
		}
		out = append(out, v)
	}
	return map[string]any{"alerts": out, "next": next}, nil
}

// showAlert shows one with all that was done.
func (s *Server) showAlert(a *adminCall) (any, *Problem) {
	a.target = clip(a.r.PathValue("id"))
	r, p := s.alertNamed(a)
	if p != nil {
		return nil, p
	}
	return viewOf(r), nil
}

// alertNamed finds the alert of the path.
func (s *Server) alertNamed(a *adminCall) (AlertRecord, *Problem) {
	a.target = clip(a.r.PathValue("id"))
	s.st.mu.RLock()
	r := s.st.alerts[a.r.PathValue("id")] // never changed: another one takes its place
	s.st.mu.RUnlock()
	if r == nil || !a.covers(r.Tenant) {
		return AlertRecord{}, problem(CodeNotFound, "there is no such alert")
	}
	return *r, nil
}
