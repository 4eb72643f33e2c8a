package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"

	"trustpack/evidence"
	"trustpack/internal/keyfile"
)

// An alert becomes one issue: opened when it is raised, commented when it is
// escalated or acknowledged, commented and closed when it is resolved. Marks in
// comments of HTML find the issue and each comment again, so that what was made
// before a crash, or before an answer was lost, is not made twice. What people
// do with the issue changes nothing here: an alert is resolved by an operator
// or by its condition.

// readToken reads the token of a file.
func readToken(file string) (string, error) {
	text, err := keyfile.Read(file, maxSecretFile)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s: want a token and nothing else", file)
	}
	return token, nil
}

// maxListPages is how far a listing of 100 a page is read.
const maxListPages = 50

// issues is one attempt at a repository's issues.
type issues struct {
	api         *gh.Client
	owner, repo string
	policy      AlertGitHubPolicy
	m           alertMessage
	since       time.Time // no issue of the alert was changed before
}

// tellGitHub makes one attempt, and gives the URL of the issue.
func (s *Server) tellGitHub(ctx context.Context, t *http.Transport, p AlertPolicy, m alertMessage) (string, error) {
	token, err := readToken(p.GitHub.TokenFile)
	if err != nil {
		return "", &attemptError{text: "reading the token: " + err.Error()}
	}
	base, err := url.Parse(p.GitHub.api())
	if err != nil {
		return "", &attemptError{text: "base_url: " + err.Error()}
	}
	client := gh.NewClient(&http.Client{
		Transport: &issueTransport{t, base, token}, Timeout: p.Timeout, CheckRedirect: sameRequest,
	})
	client.BaseURL, client.UserAgent = base, "trustpack"
	i := &issues{api: client, policy: p.GitHub, m: m}
	i.owner, i.repo, _ = strings.Cut(p.GitHub.Repository, "/")
	if s.o.Clock == evidence.ClockSystem {
		i.since = m.alert.RaisedAt.Add(-day) // clocks differ
	}
	ctx, cancel := context.WithTimeout(ctx, 10*p.Timeout)
	defer cancel()
	ticket, err := i.tell(ctx)
	return ticket, issueError(err, s.o.Now())
}

// issueTransport adds the token, for the one host that may have it, and bounds
// what is read.
type issueTransport struct {
	*http.Transport
	base  *url.URL
	token string
}

func (t *issueTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != t.base.Scheme || r.URL.Host != t.base.Host {
		return nil, fmt.Errorf("it points to another host, %s", r.URL.Host)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	res, err := t.Transport.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, 16<<20), res.Body}
	}
	return res, err
}

// sameRequest follows a redirect that asks for the same again, such as one of a
// repository that has another name now.
func sameRequest(r *http.Request, via []*http.Request) error {
	if len(via) > 3 || r.Method != via[0].Method {
		return http.ErrUseLastResponse
	}
	return nil
}

func (i *issues) tell(ctx context.Context) (string, error) {
	issue, err := i.known(ctx)
	if err != nil {
		return "", err
	}
	if issue == nil {
		if issue, err = i.open(ctx); err != nil {
			return "", err
		}
	}
	if i.m.Event != AlertEventRaised {
		if err := i.comment(ctx, issue); err != nil {
			return "", err
		}
	}
	if i.m.Event == AlertEventResolved && issue.GetState() != "closed" {
		closed, reason := "closed", "completed"
		if _, _, err := i.api.Issues.Edit(ctx, i.owner, i.repo, issue.GetNumber(), &gh.IssueRequest{State: &closed, StateReason: &reason}); err != nil {
			return "", fmt.Errorf("closing issue %d: %w", issue.GetNumber(), err)
		}
	}
	return issue.GetHTMLURL(), nil
}

// mark is how the alert's issue is known. It is made of the very moment at
// which the alert was raised, so that nobody could make such an issue before.
func (i *issues) mark() string {
	a := i.m.alert
	return "<!-- trustpack-alert " + shortHash(i.m.log, a.ID, strconv.FormatInt(a.RaisedAt.UnixNano(), 10)) + " -->"
}

func (i *issues) eventMark() string { return "<!-- trustpack-event " + i.m.ID + " -->" }

// known finds the issue of the alert: the one that an entry names, where it is
// still that, or else in the list. The search of GitHub is no help: it lags
// behind by minutes.
func (i *issues) known(ctx context.Context) (*gh.Issue, error) {
	for _, d := range i.m.alert.Deliveries {
		number := i.numberOf(d.Ticket)
		if number == 0 {
			continue
		}
		issue, res, err := i.api.Issues.Get(ctx, i.owner, i.repo, number)
		if err == nil && strings.Contains(issue.GetBody(), i.mark()) {
			return issue, nil
		}
		if err != nil && (res == nil || res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusGone) {
			return nil, fmt.Errorf("reading issue %d: %w", number, err)
		}
		break
	}
	opts := &gh.IssueListByRepoOptions{State: "all", Sort: "created", Direction: "asc", Since: i.since, ListOptions: gh.ListOptions{PerPage: 100}}
	for range maxListPages {
		list, res, err := i.api.Issues.ListByRepo(ctx, i.owner, i.repo, opts)
		if err != nil {
			return nil, fmt.Errorf("listing issues: %w", err)
		}
		for _, issue := range list {
			if !issue.IsPullRequest() && strings.Contains(issue.GetBody(), i.mark()) {
				return issue, nil
			}
		}
		if res.NextPage == 0 {
			return nil, nil
		}
		opts.Page = res.NextPage
	}
	return nil, fmt.Errorf("listing issues: more than %d changed since the alert was raised, so that it cannot be said whether it has one", maxListPages*100)
}

// numberOf is the number of an issue of this repository; 0 for all else.
func (i *issues) numberOf(ticket string) int {
	u, err := url.Parse(ticket)
	if err != nil {
		return 0
	}
	text, ok := strings.CutPrefix(strings.ToLower(u.Path), "/"+strings.ToLower(i.policy.Repository)+"/issues/")
	n, err := strconv.Atoi(text)
	if !ok || err != nil {
		return 0
	}
	return n
}

func (i *issues) open(ctx context.Context) (*gh.Issue, error) {
	a := i.m.alert
	title, body := i.title(), i.body()
	req := &gh.IssueRequest{Title: &title, Body: &body}
	if len(i.policy.Labels) > 0 {
		req.Labels = &i.policy.Labels
	}
	issue, _, err := i.api.Issues.Create(ctx, i.owner, i.repo, req)
	if err != nil {
		return nil, fmt.Errorf("opening an issue: %w", err)
	}
	if i.numberOf(issue.GetHTMLURL()) == 0 {
		return nil, fmt.Errorf("opening an issue of %s: the answer names none of %s", clip(a.ID), i.policy.Repository)
	}
	return issue, nil
}

func (i *issues) title() string {
	a := i.m.alert
	about := a.Tenant
	if len(a.Devices) == 1 {
		about = a.Devices[0]
	}
	return clipText(strings.Join(strings.Fields("["+alertSeverity(a.Kind)+"] "+a.Kind+" "+about), " "), 200)
}

func (i *issues) body() string {
	a, n := i.m.alert, min(len(i.m.alert.Devices), maxMessageDevices)
	var b strings.Builder
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%s: %s\n", what, text)
		}
	}
	line("alert", a.ID)
	line("kind", a.Kind)
	line("severity", alertSeverity(a.Kind))
	line("tenant", a.Tenant)
	line("since", a.Since.UTC().Format(time.RFC3339))
	line("raised", a.RaisedAt.UTC().Format(time.RFC3339))
	line("devices", strconv.Itoa(len(a.Devices))+" "+strings.Join(a.Devices[:n], " "))
	line("detail", clipText(a.Detail, 4000))
	if raised := a.step(AlertEventRaised); raised != nil {
		line("entry", fmt.Sprintf("%s, %d", i.m.log, raised.Index))
	}
	return fenced(b.String()) + "\nAcknowledge and resolve it with `trustpack alert`. Closing this issue does not resolve the alert.\n\n" + i.mark() + "\n"
}

// comment tells the event, unless a comment does already.
func (i *issues) comment(ctx context.Context, issue *gh.Issue) error {
	number := issue.GetNumber()
	opts := &gh.IssueListCommentsOptions{ListOptions: gh.ListOptions{PerPage: 100}}
	for page := 0; issue.GetComments() > 0; page++ {
		if page == maxListPages {
			return fmt.Errorf("listing comments of issue %d: there are more than %d", number, maxListPages*100)
		}
		list, res, err := i.api.Issues.ListComments(ctx, i.owner, i.repo, number, opts)
		if err != nil {
			return fmt.Errorf("listing comments of issue %d: %w", number, err)
		}
		for _, c := range list {
			if strings.Contains(c.GetBody(), i.eventMark()) {
				return nil
			}
		}
		if opts.Page = res.NextPage; opts.Page == 0 {
			break
		}
	}
	body := i.commentBody()
	if _, _, err := i.api.Issues.CreateComment(ctx, i.owner, i.repo, number, &gh.IssueComment{Body: &body}); err != nil {
		return fmt.Errorf("commenting issue %d: %w", number, err)
	}
	return nil
}

func (i *issues) commentBody() string {
	by := i.m.step.Actor
	if by == "" {
		by = "the ingest"
	}
	text := fmt.Sprintf("%s: %s by %s\n", i.m.Event, i.m.step.Time.UTC().Format(time.RFC3339), by)
	if i.m.step.Ticket != "" {
		text += "ticket: " + i.m.step.Ticket + "\n"
	}
	if i.m.step.Text != "" {
		text += clipText(i.m.step.Text, 4000) + "\n"
	}
	return fenced(text) + "\n" + i.eventMark() + "\n"
}

// fenced is text that Markdown shows as it is: in it nobody is mentioned and
// nothing is a link or a mark.
func fenced(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + "text\n" + strings.TrimSuffix(text, "\n") + "\n" + fence + "\n"
}

// issueError says of an error what it means for the next attempt.
func issueError(err error, now time.Time) error {
	if err == nil {
		return nil
	}
	out := &attemptError{text: withoutURL(err).Error()}
	var limited *gh.RateLimitError
	var secondary *gh.AbuseRateLimitError
	var answered *gh.ErrorResponse
	switch {
	case errors.As(err, &secondary):
		out.wait = time.Minute // what GitHub asks for where it does not say
		if secondary.RetryAfter != nil {
			out.wait = *secondary.RetryAfter
		}
		out.text = "the secondary rate limit is used up"
	case errors.As(err, &limited):
		out.wait = time.Until(limited.Rate.Reset.Time)
		if after := waitOf(limited.Response.Header.Get("Retry-After"), now); after > 0 {
			out.wait = after
		}
		out.text = "the rate limit is used up"
	case errors.As(err, &answered):
		code := answered.Response.StatusCode
		out.text = fmt.Sprintf("GitHub answered %d: %s", code, clipText(answered.Message, 200))
		out.final = code == http.StatusUnprocessableEntity || code == http.StatusGone
		out.wait = retryAfter(answered.Response, now)
		if code == http.StatusForbidden || code == http.StatusTooManyRequests {
			out.wait = waitOf(answered.Response.Header.Get("Retry-After"), now)
			reset, err := strconv.ParseInt(answered.Response.Header.Get("X-RateLimit-Reset"), 10, 64)
			if out.wait == 0 && err == nil && answered.Response.Header.Get("X-RateLimit-Remaining") == "0" {
				out.wait = time.Until(time.Unix(reset, 0))
			}
		}
	}
	out.wait = min(max(out.wait, 0), maxRetryAfter)
	return out
}
