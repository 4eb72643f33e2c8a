package templates

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"trustpack/evidence"
)

// part is one part of the system's boundary as the collectors saw it.
type part struct {
	Title   string
	Entries []entry
	Absent  string   // why there are no entries; empty where there are some
	Gaps    []string // what could not be read, so that more may exist
}

// entry is one thing inside the boundary.
type entry struct{ Name, Detail string }

// trigger is one of the four questions that decide what is in scope.
type trigger struct {
	Question, Answer, Basis string
}

// seen gives the populations by kind, joined as they were judged.
type seen struct {
	members map[evidence.Kind][]member
	records map[evidence.Kind][]evidence.Collected
}

func newSeen(v View, controls []judged) seen {
	cited := map[string]bool{}
	for id := range citations(controls) {
		cited[id] = true
	}
	groups := map[evidence.Kind][]evidence.Collected{}
	for _, e := range v.sortedEvidence() {
		groups[e.Kind] = append(groups[e.Kind], e)
	}
	s := seen{map[evidence.Kind][]member{}, map[evidence.Kind][]evidence.Collected{}}
	for k, all := range groups {
		s.members[k], s.records[k] = population(all, cited)
	}
	return s
}

// collect makes a part from the members of some kinds. Entries of one name are
// joined; facts that differ stand behind it, separated by semicolons.
func (s seen) collect(title string, kinds []evidence.Kind, from func(evidence.Kind, member) []entry) part {
	p := part{Title: title}
	facts := map[string][]string{}
	var have, lack []string
	for _, k := range kinds {
		if len(s.records[k]) == 0 {
			lack = append(lack, string(k))
			continue
		}
		have = append(have, string(k))
		for _, r := range s.records[k] {
			for _, g := range r.Completeness.Gaps {
				p.Gaps = append(p.Gaps, fmt.Sprintf("%s: %s. %s", k, g.What, g.Reason))
			}
			if wholeness(r.Completeness) != evidence.Complete && len(r.Completeness.Gaps) == 0 {
				p.Gaps = append(p.Gaps, fmt.Sprintf("%s is incomplete. %s", k, r.Completeness.Note))
			}
		}
		for _, m := range s.members[k] {
			for _, e := range from(k, m) {
				if e.Name == "" {
					e.Name = "not named in the evidence"
				}
				if facts[e.Name] == nil {
					facts[e.Name] = []string{}
				}
				if e.Detail != "" && !slices.Contains(facts[e.Name], e.Detail) {
					facts[e.Name] = append(facts[e.Name], e.Detail)
				}
			}
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(facts), naturally) {
		p.Entries = append(p.Entries, entry{name, strings.Join(facts[name], "; ")})
	}
	switch {
	case len(p.Entries) > 0:
		for _, k := range lack {
			p.Gaps = append(p.Gaps, "No evidence of "+k+" was collected.")
		}
	case len(have) == 0:
		p.Absent = "No evidence of " + strings.Join(lack, " or ") + " was collected, so none can be named here. That does not mean that there are none."
	default:
		p.Absent = "None were found in " + strings.Join(have, ", ") + "."
	}
	return p
}

// text is a string field of a member, "" where it has none.
func (m member) text(name string) string {
	s, _ := m.Attributes[name].(string)
	return s
}

// say renders a field for a sentence: its text, or JSON for what is no string.
func (m member) say(name string) string {
	v, ok := m.Attributes[name]
	if !ok {
		return "not stated"
	}
	return valueText(v)
}

// onOff is a truth value for a sentence.
func onOff(v any) string {
	switch v {
	case true:
		return "on"
	case false:
		return "off"
	}
	return "not stated"
}

func (s seen) boundary() []part {
	return []part{
		s.collect("Ingest endpoints", []evidence.Kind{"telemetry.config"}, func(_ evidence.Kind, m member) []entry {
			listeners, _ := m.Attributes["listeners"].([]any)
			var out []entry
			for _, l := range listeners {
				fields, _ := l.(map[string]any)
				x := member{Item: evidence.Item{Attributes: fields}}
				detail := fmt.Sprintf("%s listener, TLS %s at least, client certificates: %s", x.say("name"), x.say("tls_min"), x.say("client_auth"))
				if loopback, _ := fields["loopback"].(bool); loopback {
					detail += ", reachable on this machine alone"
				}
				out = append(out, entry{x.text("scheme") + "://" + x.text("addr"), detail})
			}
			return out
		}),
		s.tenants(),
		s.collect("Source repositories", []evidence.Kind{"git.repository", "github.branch-protection", "github.pull-requests", "github.changes"}, func(k evidence.Kind, m member) []entry {
			switch k {
			case "git.repository":
				return []entry{{m.ID, "branch " + m.say("branch")}}
			case "github.branch-protection":
				repo, branch, _ := strings.Cut(m.ID, "@")
				return []entry{{repo, "protected branch " + branch}}
			}
			return []entry{{m.text("repo"), ""}}
		}),
		s.accounts(),
		s.collect("Storage buckets", []evidence.Kind{"aws.buckets"}, func(_ evidence.Kind, m member) []entry {
			return []entry{{m.ID, fmt.Sprintf("%s, encryption %s, versioning %s, Object Lock %s", m.say("region"), m.say("encryption"), m.say("versioning"), onOff(m.Attributes["object_lock"]))}}
		}),
		s.collect("Log groups and trails", []evidence.Kind{"aws.log-groups", "aws.trails"}, func(k evidence.Kind, m member) []entry {
			if k == "aws.trails" {
				return []entry{{m.ID, "trail to bucket " + m.say("bucket")}}
			}
			if v, ok := m.Attributes["retention_days"]; ok && v == nil {
				return []entry{{m.ID, "never expires"}}
			}
			return []entry{{m.ID, "kept " + m.say("retention_days") + " days"}}
		}),
		s.collect("Rollout sources", []evidence.Kind{"rollout.rollouts"}, func(_ evidence.Kind, m member) []entry {
			return []entry{{m.text("source"), ""}}
		}),
	}
}

// tenants counts the registry by tenant.
func (s seen) tenants() part {
	devices, gone := map[string]int{}, map[string]int{}
	p := s.collect("Tenants and their devices", []evidence.Kind{"telemetry.devices"}, func(_ evidence.Kind, m member) []entry {
		devices[m.text("tenant")]++
		if st := m.text("state"); st == string(evidence.DeviceRevoked) || st == string(evidence.DeviceRetired) {
			gone[m.text("tenant")]++
		}
		return []entry{{Name: m.text("tenant")}}
	})
	for i, e := range p.Entries {
		p.Entries[i].Detail = count(devices[e.Name], "device", "devices") + fmt.Sprintf(" in the registry, %d of them revoked or retired", gone[e.Name])
		if strings.HasPrefix(e.Name, evidence.CanaryPrefix) {
			p.Entries[i].Detail += "; it serves drills and is nobody's customer"
		}
	}
	return p
}

// accounts names the cloud accounts by what the collectors' requests went to,
// with the regions of the items that they found.
func (s seen) accounts() part {
	kinds := []evidence.Kind{"aws.buckets", "aws.log-groups", "aws.trails", "aws.users"}
	return s.collect("Cloud accounts", kinds, func(k evidence.Kind, m member) []entry {
		account, rest, _ := strings.Cut(m.ID, "/")
		e := entry{Name: account}
		if region, _, ok := strings.Cut(rest, "/"); k == "aws.log-groups" && ok {
			e.Detail = "region " + region
		}
		return []entry{e}
	})
}

func (s seen) triggers() []trigger {
	out := []trigger{
		{Question: "Do devices authenticate to the cloud?", Answer: "Not observed"},
		{Question: "Does the vendor push firmware or remote configuration?", Answer: "Not observed"},
		{Question: "Does telemetry drive customers' decisions or billing?", Answer: "Not observable",
			Basis: "No collector can see what customers do with telemetry. The organisation has to declare it."},
		{Question: "Can support see device data or operate devices?", Answer: "Not observed"},
	}
	answer := func(i int, kind evidence.Kind, n int, what string) {
		switch {
		case len(s.records[kind]) == 0:
			out[i].Basis = "No evidence of " + string(kind) + " was collected. The organisation has to declare it."
		case n > 0:
			out[i].Answer, out[i].Basis = "Yes", fmt.Sprintf("%s: %s.", kind, what)
		default:
			out[i].Basis = fmt.Sprintf("%s holds none. The organisation has to declare it.", kind)
		}
	}
	n := 0
	for _, m := range s.members["telemetry.devices"] {
		fp, _ := m.Attributes["fingerprints"].([]any)
		if len(fp) > 0 && !strings.HasPrefix(m.text("tenant"), evidence.CanaryPrefix) {
			n++
		}
	}
	answer(0, "telemetry.devices", n, count(n, "device holds a credential", "devices hold credentials")+" (canary devices of drills left out)")
	n = len(s.members["rollout.rollouts"])
	answer(1, "rollout.rollouts", n, count(n, "rollout", "rollouts")+" in the period")
	n = 0
	for _, m := range s.members["telemetry.operators"] {
		if roles, _ := m.Attributes["roles"].([]any); slices.Contains(roles, any("support")) {
			n++
		}
	}
	answer(3, "telemetry.operators", n, count(n, "operator holds", "operators hold")+" the support role")
	return out
}
