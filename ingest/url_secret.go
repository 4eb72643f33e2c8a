package ingest

import (
	"net/http"
	"regexp"
	"strings"
)

// tokenForm finds tokens in a text, whole or cut off.
var tokenForm = regexp.MustCompile(`tp[od]_[A-Za-z0-9_-]+`)

// withoutTokens is text with each token in it replaced by its fingerprint, of
// which nobody can make the token again.
func withoutTokens(text string) string {
	if !strings.Contains(text, operatorTokenBegins) && !strings.Contains(text, "tpd_") {
		return text
	}
	return tokenForm.ReplaceAllStringFunc(text, func(token string) string { return "(token " + tokenPrint(token)[:len("sha256:")+16] + ")" })
}

// tokenInURL refuses a request whose URL holds a token: URLs are kept by
// proxies, browsers and logs. It says which token, so that it can be replaced.
func tokenInURL(r *http.Request) *Problem {
	found := tokenForm.FindString(r.URL.Path + " " + r.URL.RawQuery)
	for key, values := range r.URL.Query() {
		for _, text := range append(values, key) {
			if f := tokenForm.FindString(text); f != "" {
				found = f
			}
		}
		if lower := strings.ToLower(key); found == "" && (lower == "access_token" || lower == "token" || lower == "id_token") {
			return problem(CodeTokenInURL, "the query holds "+lower)
		}
	}
	if found == "" {
		return nil
	}
	return problem(CodeTokenInURL, tokenPrint(found)+" is no secret any more: issue another in its place")
}
