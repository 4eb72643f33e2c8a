package controls

import (
	"errors"
	"strings"
)

// message is the template of an exception's detail: text with {{CEL}} in it.
type message []segment

type segment struct {
	text  string
	value *program // nil: text as it stands
}

func parseMessage(s string, compile func(string) (*program, error)) (message, error) {
	var m message
	for s != "" {
		text, rest, found := strings.Cut(s, "{{")
		if text != "" {
			m = append(m, segment{text: text})
		}
		if !found {
			break
		}
		source, after, closed := strings.Cut(rest, "}}")
		if !closed || strings.TrimSpace(source) == "" {
			return nil, errors.New("message: {{ must hold an expression and be closed by }}")
		}
		p, err := compile(strings.TrimSpace(source))
		if err != nil {
			return nil, err
		}
		m = append(m, segment{value: p})
		s = after
	}
	return m, nil
}

// render fills the message in. A value that cannot be had is shown as "?":
// the exception itself must never be lost for want of its words.
func (m message) render(act *activation) string {
	var out strings.Builder
	for _, seg := range m {
		if seg.value == nil {
			out.WriteString(seg.text)
			continue
		}
		v, _, err := seg.value.run.Eval(act)
		if err != nil || v == nil {
			out.WriteString("?")
			continue
		}
		out.WriteString(show(v))
	}
	return out.String()
}
