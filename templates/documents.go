package templates

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"text/template"
	"time"

	"trustpack/evidence"
)

//go:embed documents
var documentFiles embed.FS

// Documents gives the documents that a vendor writes himself (runbooks, a
// tabletop record, an access review) as files to begin from, by name, dated
// today. They state nothing yet: a reviewer is to be named in each.
func Documents(today time.Time) (map[string][]byte, error) {
	entries, err := fs.ReadDir(documentFiles, "documents")
	if err != nil {
		return nil, fmt.Errorf("reading document templates: %w", err)
	}
	today = today.UTC()
	quarter := evidence.Period{From: time.Date(today.Year(), (today.Month()-1)/3*3+1, 1, 0, 0, 0, 0, time.UTC)}
	quarter.To = quarter.From.AddDate(0, 3, 0)
	values := map[string]string{
		"Today": today.Format(time.DateOnly), "NextYear": today.AddDate(1, 0, 0).Format(time.DateOnly), "Quarter": quarter.String(),
	}
	out := map[string][]byte{}
	for _, e := range entries {
		t, err := template.New(e.Name()).Option("missingkey=error").ParseFS(documentFiles, "documents/"+e.Name())
		if err != nil {
			return nil, fmt.Errorf("reading document template: %w", err)
		}
		var buf bytes.Buffer
		if err := t.Execute(&buf, values); err != nil {
			return nil, fmt.Errorf("filling document template %s: %w", e.Name(), err)
		}
		out[e.Name()] = buf.Bytes()
	}
	return out, nil
}
