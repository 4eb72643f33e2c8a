package httpreplay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"text/template"
)

// Values holds what is known only at run time, such as commit hashes by label.
type Values map[string]string

// render fills the templates of an exchange.
func (e Exchange) render(url string, values Values) (Exchange, error) {
	r := renderer{url: url, values: values, source: e.source}
	out := Exchange{source: e.source}
	out.Request = Request{
		Method:  r.text(e.Request.Method),
		Path:    r.text(e.Request.Path),
		Query:   r.strings(e.Request.Query),
		Headers: r.strings(e.Request.Headers),
		Target:  r.text(e.Request.Target),
		Form:    r.strings(e.Request.Form),
	}
	if e.Request.JSON != nil {
		out.Request.JSON, _ = r.plain(e.Request.JSON).(map[string]any)
	}
	if out.Request.Method == "" {
		out.Request.Method = http.MethodGet
	}
	if out.Request.Path == "" {
		out.Request.Path = "/"
	}
	out.Reply = Reply{Status: e.Reply.Status, Headers: r.strings(e.Reply.Headers), Body: r.text(e.Reply.Body)}
	if out.Reply.Status == 0 {
		out.Reply.Status = http.StatusOK
	}
	if e.Reply.JSON != nil {
		body, err := encode(r.plain(e.Reply.JSON))
		if err != nil && r.err == nil {
			r.err = fmt.Errorf("%s: encoding json: %w", e.source, err)
		}
		out.Reply.Body = body
		if out.Reply.Headers == nil {
			out.Reply.Headers = map[string]string{}
		}
		if out.Reply.Headers["Content-Type"] == "" {
			out.Reply.Headers["Content-Type"] = "application/json; charset=utf-8"
		}
	}
	return out, r.err
}

type renderer struct {
	url, source string
	values      Values
	err         error // the first
}

func (r *renderer) text(s string) string {
	if !strings.Contains(s, "{{") {
		return s
	}
	lookup := func(label string) (string, error) {
		v, ok := r.values[label]
		if !ok {
			return "", fmt.Errorf("no value is known for label %q", label)
		}
		return v, nil
	}
	t, err := template.New("reply").Funcs(template.FuncMap{
		"sha":   lookup,
		"value": lookup,
		"url":   func() string { return r.url },
	}).Parse(s)
	var out bytes.Buffer
	if err == nil {
		err = t.Execute(&out, nil)
	}
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("filling recorded replies: %s: %w", r.source, err)
	}
	return out.String()
}

func (r *renderer) strings(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = r.text(v)
	}
	return out
}

// plain fills the strings of a decoded YAML or JSON value.
func (r *renderer) plain(v any) any {
	switch v := v.(type) {
	case string:
		return r.text(v)
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = r.plain(x)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[r.text(k)] = r.plain(x)
		}
		return out
	case []map[string]any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = r.plain(x)
		}
		return out
	}
	return v
}

func encode(v any) (string, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(buf.String(), "\n"), nil
}
