package templates

import (
	"bytes"
	"strings"
	"testing"
)

func rendered(t *testing.T, v View) string {
	t.Helper()
	var b bytes.Buffer
	if err := Report(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReportBanner(t *testing.T) {
	if got := rendered(t, exampleView(t)); !strings.Contains(got, `class="banner"`) || !strings.Contains(got, "SAMPLE DATA · SIMULATED CLOCK") {
		t.Error("the report of a sample has no banner")
	}
	if got := rendered(t, realView(t)); strings.Contains(got, `class="banner"`) || strings.Contains(got, "SAMPLE") {
		t.Error("the report of the real thing carries a banner")
	}
}
