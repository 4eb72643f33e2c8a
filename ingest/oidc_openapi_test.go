package ingest

import (
	"bytes"
	"io"
	"net/http"
	"testing"
)

// TestLoginIsAsOpenAPISays: the two routes of a login ask for no operator, so
// they are not among the routes with actions, whose answers are held to
// openapi.yaml elsewhere.
func TestLoginIsAsOpenAPISays(t *testing.T) {
	r, p := oidcRig(t)
	a := readAPI(t)
	if err := r.admin("root.admin").AddOperatorByIdentity(t.Context(), "ada", "ada", "joins"); err != nil {
		t.Fatal(err)
	}
	_, addr := r.s.Addrs()
	c := r.anonymous()
	ask := func(method string, body []byte, status string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+addr+adminPath+"login", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		pattern := method + " " + adminPath + "login"
		if res.Status[:3] != status {
			t.Errorf("%s: %s %s", pattern, res.Status, got)
		}
		if res.StatusCode < 300 { // refusals are held to their schema for every route
			err = a.fits(pattern, got, "responses", status, "content", "application/json", "schema")
		}
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
	}
	ask("GET", nil, "200")
	body := raw(map[string]any{"id_token": p.sign(r.claims(p))})
	if err := a.fits("POST "+adminPath+"login", body, "requestBody", "content", "application/json", "schema"); err != nil {
		t.Error(err)
	}
	ask("POST", body, "201")
	ask("POST", body, "401") // the nonce was used
	ask("POST", []byte(`{"id_token":"","more":1}`), "400")
}
