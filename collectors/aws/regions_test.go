package aws

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"trustpack/evidence"
	"trustpack/internal/httpreplay"
)

// listed is the example account with another list of regions, a reply for each
// page, and whatever edit makes of the rest.
func listed(t *testing.T, pages []httpreplay.Reply, edit func(*httpreplay.Exchange)) *httpreplay.Server {
	t.Helper()
	exchanges, err := httpreplay.Load(os.DirFS("../../examples/metering/aws"))
	if err != nil {
		t.Fatal(err)
	}
	all := slices.DeleteFunc(exchanges, func(e httpreplay.Exchange) bool { return e.Request.Path == "/listRegions" })
	if len(all) != len(exchanges)-1 {
		t.Fatal("the example has not one list of regions")
	}
	for i := range all {
		if edit != nil {
			edit(&all[i])
		}
	}
	for i, reply := range pages {
		token := any(nil)
		if i > 0 {
			token = "page" + string(rune('1'+i))
		}
		all = append(all, httpreplay.Exchange{
			Request: httpreplay.Request{Method: "POST", Path: "/listRegions", JSON: map[string]any{"NextToken": token}}, Reply: reply})
	}
	s, err := httpreplay.Of(all, nil)
	if err != nil {
		t.Fatal(err)
	}
	return started(t, s)
}

// page is one page of the list of regions: "name=STATUS …", and what follows.
func page(regions, next string) httpreplay.Reply {
	var entries []string
	for _, r := range strings.Fields(regions) {
		name, status, _ := strings.Cut(r, "=")
		entries = append(entries, `{"RegionName":"`+name+`","RegionOptStatus":"`+status+`"}`)
	}
	body := `{"Regions":[` + strings.Join(entries, ",") + `]`
	if next != "" {
		body += `,"NextToken":"` + next + `"`
	}
	return httpreplay.Reply{Body: body + "}", Headers: map[string]string{"Content-Type": "application/json"}}
}

// asked are the regions in which an operation reached the server.
func asked(e evidence.Evidence, operation string) []string {
	var regions []string
	for _, r := range e.Provenance.Requests {
		if r.Method == operation && !slices.Contains(regions, r.Parameters["region"]) {
			regions = append(regions, r.Parameters["region"])
		}
	}
	return regions
}

func gapsOf(e evidence.Evidence) []string {
	var all []string
	for _, g := range e.Completeness.Gaps {
		all = append(all, g.What+": "+g.Reason)
	}
	return all
}

func TestWhichRegionsAreRead(t *testing.T) {
	const two = "eu-central-1=ENABLED_BY_DEFAULT eu-west-1=ENABLED"
	refused := jsonError(403, "AccessDeniedException")
	for name, c := range map[string]struct {
		pages      []httpreplay.Reply
		named      []string
		read, gaps []string
		note       string
	}{
		"all that are enabled":   {[]httpreplay.Reply{page(two+" af-south-1=DISABLED", "")}, nil, []string{"eu-central-1", "eu-west-1"}, nil, "regions read: eu-central-1, eu-west-1; 1 more are not enabled"},
		"on the second page too": {[]httpreplay.Reply{page("eu-central-1=ENABLED", "page2"), page("eu-west-1=ENABLED", "")}, nil, []string{"eu-central-1", "eu-west-1"}, nil, ""},
		"an empty first page":    {[]httpreplay.Reply{page("", "page2"), page("eu-west-1=ENABLED", "")}, nil, []string{"eu-west-1"}, nil, ""},
		"second page refused":    {[]httpreplay.Reply{page("eu-central-1=ENABLED", "page2"), refused}, nil, []string{"eu-central-1"}, []string{"list of enabled regions, page 2: HTTP 403 AccessDenied"}, "regions read: eu-central-1"},
		"second page cut off":    {[]httpreplay.Reply{page("eu-central-1=ENABLED", "page2"), {Body: `{"Regions":[{"RegionName":"eu-we`}}, nil, []string{"eu-central-1"}, []string{"list of enabled regions, page 2: the reply is not what"}, ""},
		"refused":                {[]httpreplay.Reply{refused}, nil, nil, []string{"may not call Account ListRegions: give it account:ListRegions"}, "no region was read"},
		"busy":                   {[]httpreplay.Reply{jsonError(429, "TooManyRequestsException")}, nil, nil, []string{"HTTP 429 TooManyRequestsException"}, ""},
		"refused, some named":    {[]httpreplay.Reply{refused}, []string{"eu-west-1"}, []string{"eu-west-1"}, []string{"list of enabled regions, page 1: HTTP 403"}, "regions read: eu-west-1"},
		"named on a lost page":   {[]httpreplay.Reply{page("eu-central-1=ENABLED", "page2"), refused}, []string{"eu-central-1", "eu-west-1"}, []string{"eu-central-1", "eu-west-1"}, []string{"page 2"}, ""},
		"one left out":           {[]httpreplay.Reply{page(two, "")}, []string{"eu-west-1"}, []string{"eu-west-1"}, []string{"region eu-central-1: enabled, but left out of regions"}, ""},
		"named and not enabled":  {[]httpreplay.Reply{page(two+" af-south-1=DISABLED", "")}, []string{"af-south-1", "eu-central-1", "eu-west-1"}, []string{"eu-central-1", "eu-west-1"}, []string{"region af-south-1: named in regions, but the account has not enabled it"}, ""},
		"named and unheard of":   {[]httpreplay.Reply{page(two, "")}, []string{"eu-centrall-1", "eu-central-1", "eu-west-1"}, []string{"eu-central-1", "eu-west-1"}, []string{"region eu-centrall-1: named in regions, but AWS does not list it"}, ""},
		"on its way in":          {[]httpreplay.Reply{page(two+" me-south-1=ENABLING", "")}, nil, []string{"eu-central-1", "eu-west-1"}, []string{"region me-south-1: its status is ENABLING"}, ""},
		"on its way out":         {[]httpreplay.Reply{page(two+" me-south-1=DISABLING", "")}, []string{"eu-central-1", "eu-west-1"}, []string{"eu-central-1", "eu-west-1"}, []string{"region me-south-1: its status is DISABLING"}, ""},
		"of no known status":     {[]httpreplay.Reply{page(two+" me-south-1=PAUSED", "")}, nil, []string{"eu-central-1", "eu-west-1"}, []string{"region me-south-1: its status is PAUSED"}, ""},
		"not a region":           {[]httpreplay.Reply{page(two+" x.example.com/eu-1=ENABLED", "")}, nil, []string{"eu-central-1", "eu-west-1"}, []string{`"x.example.com/eu-1", which is not a region`}, ""},
		"none at all":            {[]httpreplay.Reply{page("", "")}, nil, nil, []string{"list of enabled regions: it is empty"}, "no region was read"},
		"none enabled":           {[]httpreplay.Reply{page("eu-west-1=DISABLED", "")}, nil, nil, []string{"no region is enabled"}, "no region was read"},
	} {
		t.Run(name, func(t *testing.T) {
			config := exampleConfig(listed(t, c.pages, nil).URL())
			config.Regions = c.named
			for kind, e := range collect(t, config, deps()) {
				op := map[evidence.Kind]string{KindLogGroups: "DescribeLogGroups", KindTrails: "DescribeTrails"}[kind]
				if op == "" {
					if e.Completeness.State != evidence.Complete || len(asked(e, "ListRegions")) > 0 {
						t.Errorf("%s is not per region: %+v", kind, e.Completeness)
					}
					continue
				}
				if got := asked(e, op); !slices.Equal(got, c.read) {
					t.Errorf("%s: read in %v, want %v", kind, got, c.read)
				}
				gaps := gapsOf(e)
				if len(gaps) != len(c.gaps) || (e.Completeness.State == evidence.Complete) != (len(c.gaps) == 0) {
					t.Errorf("%s is %s, gaps %q, want %q", kind, e.Completeness.State, gaps, c.gaps)
				}
				for i := range min(len(gaps), len(c.gaps)) {
					if !strings.Contains(gaps[i], c.gaps[i]) || !strings.HasPrefix(gaps[i], "account 111122223333: ") {
						t.Errorf("%s: gap %q, want %q of the account", kind, gaps[i], c.gaps[i])
					}
				}
				if !strings.Contains(e.Completeness.Note, c.note) {
					t.Errorf("%s: note %q, want %q", kind, e.Completeness.Note, c.note)
				}
			}
		})
	}
}

func TestTheListOfRegionsIsInTheEvidence(t *testing.T) {
	got := collect(t, exampleConfig(recorded(t).URL()), deps())
	for _, kind := range []evidence.Kind{KindLogGroups, KindTrails} {
		e := got[kind]
		i := slices.IndexFunc(e.Provenance.Requests, func(r evidence.Request) bool { return r.Method == "ListRegions" })
		if i < 0 {
			t.Fatalf("%s: ListRegions is not among the requests", kind)
		}
		r := e.Provenance.Requests[i]
		if r.Page != 1 || r.Parameters["MaxResults"] != "50" || r.Parameters["region"] != "us-east-1" || !slices.ContainsFunc(e.Raw, func(raw evidence.RawReply) bool {
			return evidence.SHA256Hex(raw.Body) == r.ReplySHA256 && strings.Contains(string(raw.Body), `"RegionOptStatus":"DISABLED"`)
		}) {
			t.Errorf("%s: %+v", kind, r)
		}
		if n := len(asked(e, map[evidence.Kind]string{KindLogGroups: "DescribeLogGroups", KindTrails: "DescribeTrails"}[kind])); n != 17 {
			t.Errorf("%s was read in %d regions, want the 17 that are enabled", kind, n)
		}
	}
}

// A trail of all regions shows in each as a shadow of itself: it counts once,
// is there where only its shadow is seen, and is asked for its state at home.
func TestTheShadowsOfATrail(t *testing.T) {
	const id = "111122223333/gridpulse-audit"
	for name, named := range map[string][]string{"in 17 regions": nil, "its home is not read": {"eu-west-1"}} {
		c := exampleConfig(recorded(t).URL())
		c.Regions = named
		e := collect(t, c, deps())[KindTrails]
		if len(e.Population.Items) != 1 || e.Population.Items[0].ID != id {
			t.Fatalf("%s: %d trails: %v", name, len(e.Population.Items), e.Population.Items)
		}
		wantFields(t, name, e.Population.Items[0].Attributes, map[string]any{"home_region": "eu-central-1", "logging": true, "latest_delivery_at": "2026-09-30T22:51:07Z"})
		if at := asked(e, "ListRegions"); !slices.Equal(at, []string{"us-east-1"}) {
			t.Errorf("%s: the list of regions was asked for in %v", name, at)
		}
		if at := asked(e, "GetTrailStatus"); !slices.Equal(at, []string{"eu-central-1"}) {
			t.Errorf("%s: its state was asked for in %v", name, at)
		}
	}
	// A second one of one region, of the same name, is another trail.
	s := listed(t, []httpreplay.Reply{page("eu-central-1=ENABLED eu-west-1=ENABLED", "")}, func(e *httpreplay.Exchange) {
		if target("DescribeTrails", "eu-west-1")(e.Request) {
			e.Reply.Body = strings.Replace(e.Reply.Body, `{"trailList":[`, `{"trailList":[{"Name":"gridpulse-audit","HomeRegion":"eu-west-1","TrailARN":"arn:aws:cloudtrail:eu-west-1:111122223333:trail/gridpulse-audit"},`, 1)
		}
	})
	var ids []string
	for _, it := range collect(t, exampleConfig(s.URL()), deps())[KindTrails].Population.Items {
		ids = append(ids, it.ID)
	}
	if want := []string{"111122223333/eu-central-1/gridpulse-audit", "111122223333/eu-west-1/gridpulse-audit"}; !slices.Equal(ids, want) {
		t.Errorf("trails %v, want %v", ids, want)
	}
}

// Account Management is one address in each partition, and is signed for that
// one's region, as the services that are asked for the whole account are.
func TestThePartitionsOfAWS(t *testing.T) {
	for partition, want := range map[string][]string{
		"":           {"sts.us-east-1.amazonaws.com", "account.us-east-1.amazonaws.com", "iam.amazonaws.com"},
		"aws-us-gov": {"sts.us-gov-west-1.amazonaws.com", "account.us-gov-west-1.amazonaws.com", "iam.us-gov.amazonaws.com"},
		"aws-cn":     {"sts.cn-northwest-1.amazonaws.com.cn", "account.cn-northwest-1.amazonaws.com.cn", "iam.cn-north-1.amazonaws.com.cn"},
		"aws-eusc":   {"sts.eusc-de-east-1.amazonaws.eu", "account.eusc-de-east-1.amazonaws.eu"},
		"aws-iso":    {"sts.us-iso-east-1.c2s.ic.gov", "account.us-iso-east-1.c2s.ic.gov"},
		"aws-iso-b":  {"account.us-isob-east-1.sc2s.sgov.gov"},
		"aws-iso-e":  {"account.eu-isoe-west-1.cloud.adc-e.uk"},
		"aws-iso-f":  {"account.us-isof-south-1.csp.hci.ic.gov"},
	} {
		c := exampleConfig("")
		c.Partition, c.Attempts = partition, 1
		d, hosts := deps(), map[string]bool{}
		signed := ""
		d.Transport = refusing{hosts, func(r *http.Request) {
			if strings.HasPrefix(r.URL.Host, "account.") {
				signed = r.Header.Get("Authorization")
			}
		}}
		collect(t, c, d)
		for _, host := range want {
			if !hosts[host] {
				t.Errorf("%q: %s was not asked; asked were %v", partition, host, hosts)
			}
		}
		if scope := "/" + c.partition().home + "/account/aws4_request"; !strings.Contains(signed, scope) {
			t.Errorf("%q: Account Management is not signed for %s", partition, scope)
		}
		if got := partitionOf(c.partition().home).name; partition != "" && got != partition {
			t.Errorf("%s is said to be in %s", c.partition().home, got)
		}
	}
}
