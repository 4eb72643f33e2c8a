package aws

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"trustpack/evidence"
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
	if (status == 403 || deniedByPolicy(code)) && errors.As(err, &op) {
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

// accessOf says what the outcome of a call tells about the permission for it:
// lacking where AWS refuses whoever asks. The codes none are told only to
// those who may look.
func accessOf(err error, none ...string) evidence.AccessState {
	if err == nil {
		return evidence.AccessGranted
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return evidence.AccessUnknown
	}
	code, status := api.ErrorCode(), 0
	var answered *smithyhttp.ResponseError
	if errors.As(err, &answered) {
		status = answered.HTTPStatusCode()
	}
	_, busy := retry.DefaultThrottleErrorCodes[code]
	switch {
	case slices.Contains(none, code):
		return evidence.AccessGranted
	case busy || slices.Contains([]string{"", "UnknownError", "Forbidden", "Unauthorized"}, code):
		return evidence.AccessUnknown // the words that the SDK has for a page of somebody between
	case code == "RequestTimeTooSkewed" || code == "RequestExpired" ||
		strings.HasPrefix(api.ErrorMessage(), "Signature expired") || strings.HasPrefix(api.ErrorMessage(), "Signature not yet current"):
		// a clock is wrong
		return evidence.AccessUnknown
	case status == http.StatusUnauthorized || status == http.StatusForbidden || deniedByPolicy(code):
		return evidence.AccessLacking
	}
	switch code { // with which some services refuse a credential by status 400
	case "UnrecognizedClientException", "InvalidSignatureException", "MissingAuthenticationToken", "IncompleteSignature",
		"ExpiredToken", "ExpiredTokenException", "InvalidToken", "InvalidClientTokenId":
		return evidence.AccessLacking
	}
	return evidence.AccessUnknown
}

func deniedByPolicy(code string) bool { return strings.HasPrefix(code, "AccessDenied") }

// ofCredential is what the outcome of sts:GetCallerIdentity tells, which needs
// no permission: what a policy on the way to STS denies says nothing of others.
func ofCredential(err error) evidence.AccessState {
	var api smithy.APIError
	if errors.As(err, &api) && deniedByPolicy(api.ErrorCode()) {
		return evidence.AccessUnknown
	}
	return accessOf(err)
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
