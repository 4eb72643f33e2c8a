package ingest

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"time"
)

// OIDCPolicy lets operators log in at an OpenID provider (OpenID Connect Core
// 1.0). Without an issuer nobody can.
type OIDCPolicy struct {
	Issuer   string `yaml:"issuer"`
	ClientID string `yaml:"client_id"`
	// ClientSecretFile is read by whoever logs in, where the provider knows no
	// public clients. The ingest itself needs none.
	ClientSecretFile string              `yaml:"client_secret_file"`
	Audience         string              `yaml:"audience"`     // that ID tokens must be for; empty: client_id
	Scopes           []string            `yaml:"scopes"`       // asked for beside openid
	GroupsClaim      string              `yaml:"groups_claim"` // a list of texts, or one
	NameClaim        string              `yaml:"name_claim"`   // by which an admin says who may log in; "sub" cannot be chosen by its bearer
	Roles            map[string][]string `yaml:"roles"`        // by group; a group that is not here gives none
	MaxSession       time.Duration       `yaml:"max_session"`  // from login to the next
	RequireMFA       bool                `yaml:"require_mfa"`  // "mfa" must be among the token's amr (RFC 8176)
	ACR              []string            `yaml:"acr"`          // one of which the token must carry; empty: any
	DeviceGrant      bool                `yaml:"device_grant"` // take ID tokens of the device grant (RFC 8628), which carry no nonce
}

func defaultOIDC() OIDCPolicy {
	return OIDCPolicy{GroupsClaim: "groups", NameClaim: "sub", MaxSession: 8 * time.Hour}
}

func (o OIDCPolicy) on() bool { return o.Issuer != "" }

func (o OIDCPolicy) audience() string {
	if o.Audience != "" {
		return o.Audience
	}
	return o.ClientID
}

// rolesOf are the roles that the groups give, sorted.
func (o OIDCPolicy) rolesOf(groups []string) []string {
	var out []string
	for _, g := range groups {
		out = append(out, o.Roles[g]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (o OIDCPolicy) validate() error {
	if !o.on() {
		return nil
	}
	if !webAddress(o.Issuer) {
		return fmt.Errorf("issuer: %q: want the https address of the provider; http is for loopback alone", o.Issuer)
	}
	switch {
	case o.ClientID == "":
		return fmt.Errorf("client_id: the client that the provider knows this ingest's operators as must be given")
	case o.GroupsClaim == "" || o.NameClaim == "":
		return fmt.Errorf("groups_claim and name_claim: neither can be empty")
	case o.MaxSession < time.Minute || o.MaxSession > day:
		return fmt.Errorf("max_session: %v is outside 1m to 24h", o.MaxSession)
	case len(o.Roles) == 0:
		return fmt.Errorf("roles: say which groups give which roles; without any nobody could log in")
	}
	for _, group := range slices.Sorted(maps.Keys(o.Roles)) {
		if len(o.Roles[group]) == 0 {
			return fmt.Errorf("roles.%s: give at least one role", group)
		}
		for _, r := range o.Roles[group] {
			if !slices.Contains(Roles(), r) {
				return fmt.Errorf("roles.%s: there is no role %s", group, r)
			}
		}
	}
	return nil
}

// webAddress reports whether text is an https URL, or an http one of loopback.
func webAddress(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

func (o OIDCPolicy) effective() map[string]any {
	if !o.on() {
		return map[string]any{}
	}
	return map[string]any{
		"issuer": o.Issuer, "client_id": o.ClientID, "client_secret_file": o.ClientSecretFile, "audience": o.audience(), "scopes": append([]string{}, o.Scopes...),
		"groups_claim": o.GroupsClaim, "name_claim": o.NameClaim, "roles": o.Roles, "max_session": durationText(o.MaxSession),
		"require_mfa": o.RequireMFA, "acr": append([]string{}, o.ACR...), "device_grant": o.DeviceGrant,
	}
}
