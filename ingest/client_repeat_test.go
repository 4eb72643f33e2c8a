package ingest

import (
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// A batch is sent again where the connection that was kept from before breaks
// under it, and only there: what breaks on a new connection is the caller's to
// know, and so is an answer.
func TestSendOverAConnectionThatBreaks(t *testing.T) {
	const answer, refuse, cut = 0, 1, 2
	var plan, seen []int
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		step := plan[len(seen)]
		seen = append(seen, step)
		switch step {
		case answer:
			_, _ = w.Write([]byte(`{"accepted":1}`))
		case refuse:
			problem(CodeRevoked, "").write(w)
		case cut:
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				err = conn.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
	}))
	defer server.Close()
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for _, c := range []struct {
		plan []int
		want string // of the last send
	}{
		{[]int{answer, cut, answer}, "taken"},
		{[]int{answer, cut, refuse}, "refused"},
		{[]int{answer, cut, cut}, "broken"},
		{[]int{answer, refuse}, "refused"},
		{[]int{cut}, "broken"},
	} {
		plan, seen = c.plan, nil
		d, err := NewDeviceClient(ClientOptions{URL: server.URL, CA: root})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for range min(len(c.plan), 2) {
			_, err := d.Send(t.Context(), []byte(`{"seq":1}`+"\n"))
			switch p := new(Problem); {
			case err == nil:
				got = "taken"
			case errors.As(err, &p):
				got = "refused"
			default:
				got = "broken"
			}
		}
		if got != c.want || !slices.Equal(seen, c.plan) {
			t.Errorf("%v: %s after %v, want %s", c.plan, got, seen, c.want)
		}
		d.Close()
	}
}
