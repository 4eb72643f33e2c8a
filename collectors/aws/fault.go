package aws

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// reason says in one line why a call brought nothing: the HTTP status, the
// service's code and message, or what happened to the connection.
func reason(err error) string {
	status := 0
	var answered *smithyhttp.ResponseError
	if errors.As(err, &answered) && answered.Response != nil && answered.Response.Response != nil {
		status = answered.Response.StatusCode
	}
	var cut *cutOff
	if errors.As(err, &cut) {
		return oneLine(cut.Error())
	}
	var other *strange
	if errors.As(err, &other) {
		return oneLine(other.Error())
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		text := api.ErrorCode()
		if m := api.ErrorMessage(); m != "" && m != text {
			text += ": " + m
		}
		return oneLine(withStatus(status, text) + hint(err, status, api.ErrorCode()))
	}
	var unread *smithy.DeserializationError
	if errors.As(err, &unread) {
		return oneLine(withStatus(status, "the reply is not what the API describes: "+unread.Unwrap().Error()))
	}
	return oneLine(withStatus(status, err.Error()))
}

func withStatus(status int, text string) string {
	if status == 0 {
		return text
	}
	return fmt.Sprintf("HTTP %d %s", status, text)
}

// hint names the permission that is probably missing.
func hint(err error, status int, code string) string {
	var op *smithy.OperationError
	if (status == 403 || strings.HasPrefix(code, "AccessDenied")) && errors.As(err, &op) {
		may := " (the credential may not call " + op.Service() + " " + op.Operation()
		if op.Operation() == "ListRegions" { // which AWS's policy SecurityAudit leaves out
			may += ": give it account:ListRegions"
		}
		return may + ")"
	}
	return ""
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 400 {
		return string(r[:400]) + "…"
	}
	return s
}

// answer is what a call for one setting brought.
type answer int

const (
	read   answer = iota // the setting
	none                 // the service says that there is none
	failed               // nothing that could be judged; a gap was noted
)

// answered sorts the outcome of a call for one setting. Only the codes with
// which the service says "there is none" mean none: a refusal, or a resource
// that is gone, is a gap.
func (s *session) answered(what string, err error, noneCodes ...string) answer {
	if err == nil {
		return read
	}
	var api smithy.APIError
	if errors.As(err, &api) && slices.Contains(noneCodes, api.ErrorCode()) {
		return none
	}
	s.gap(what, err)
	return failed
}
