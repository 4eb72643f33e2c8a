package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/account"
	"github.com/aws/aws-sdk-go-v2/service/account/types"

	"trustpack/evidence"
)

// regions says which regions of the account are read, and which are not and
// why. It is found out once a run, and shown in each kind that is per region.
type regions struct {
	rec   *recorder
	read  []string // sorted
	gaps  []evidence.Gap
	note  string
	fault error // why the list of them is not whole
}

// regionsOf asks Account Management (ListRegions) which regions the account
// has enabled. Where the configuration names regions only those are read, and
// each other enabled one is a gap: what it holds is not known. A region on its
// way in or out is a gap too, since what it holds may be out of reach.
func (c *collector) regionsOf(ctx context.Context, id *identity) *regions {
	s := &session{c: c, id: id, rec: c.recorder(id.secrets, "regions/")}
	status, fault := s.listRegions(ctx)
	whole := fault == nil
	named := id.account.Regions
	wanted := func(region string) bool { return len(named) == 0 || slices.Contains(named, region) }
	read, off := map[string]bool{}, 0
	for _, region := range slices.Sorted(maps.Keys(status)) {
		what := "region " + region
		switch is := status[region]; {
		case is == types.RegionOptStatusEnabled || is == types.RegionOptStatusEnabledByDefault:
			if wanted(region) {
				read[region] = true
			} else {
				s.noteGap(what, "enabled, but left out of regions: not read")
			}
		case is == types.RegionOptStatusDisabled && len(named) > 0 && wanted(region):
			s.noteGap(what, "named in regions, but the account has not enabled it: not read")
		case is == types.RegionOptStatusDisabled:
			off++
		default:
			s.noteGap(what, fmt.Sprintf("its status is %s: not read; collect again when it is enabled or disabled", is))
		}
	}
	for _, region := range named {
		switch _, listed := status[region]; {
		case listed:
		case whole:
			s.noteGap("region "+region, "named in regions, but AWS does not list it for the account: not read")
		default:
			read[region] = true // nothing speaks against it
		}
	}
	r := &regions{rec: s.rec, read: slices.Sorted(maps.Keys(read)), gaps: s.gaps, fault: fault}
	if whole && off == len(status) {
		s.noteGap("list of enabled regions", "no region is enabled, and an account has always some")
		r.gaps = s.gaps
	}
	r.note = "regions read: " + strings.Join(r.read, ", ")
	if len(r.read) == 0 {
		r.note = "no region was read"
	}
	if whole {
		r.note += fmt.Sprintf("; %d more are not enabled", off)
	}
	return r
}

// listRegions gives each region that AWS lists for the account with its
// status, and why that is not the whole list.
func (s *session) listRegions(ctx context.Context) (map[string]types.RegionOptStatus, error) {
	status := map[string]types.RegionOptStatus{}
	client := account.NewFromConfig(s.config(s.c.config.partition().home))
	pages := account.NewListRegionsPaginator(client, &account.ListRegionsInput{MaxResults: aws.Int32(50)})
	for s.rec.page = 1; pages.HasMorePages(); s.rec.page++ {
		out, err := pages.NextPage(ctx)
		if err != nil {
			s.gap(fmt.Sprintf("list of enabled regions, page %d", s.rec.page), err)
			return status, err
		}
		for _, r := range out.Regions {
			name := aws.ToString(r.RegionName)
			if !regionForm.MatchString(name) { // it would become part of an address
				s.noteGap("list of enabled regions", fmt.Sprintf("AWS lists %q, which is not a region such as eu-central-1", name))
				continue
			}
			status[name] = r.RegionOptStatus
		}
	}
	if len(status) == 0 {
		err := errors.New("it is empty, and an account has always some")
		s.gap("list of enabled regions", err)
		return status, err
	}
	return status, nil
}

// partition is a part of AWS with accounts and credentials of its own.
type partition struct {
	name   string // as in an ARN
	prefix string // of the names of its regions
	home   string // the region of its services for the whole account
}

// partitionsOfAWS are those that the SDK knows, the first for whatever has no
// other's prefix.
func partitionsOfAWS() []partition {
	return []partition{
		{"aws", "", "us-east-1"},
		{"aws-cn", "cn-", "cn-northwest-1"},
		{"aws-us-gov", "us-gov-", "us-gov-west-1"},
		{"aws-eusc", "eusc-", "eusc-de-east-1"},
		{"aws-iso", "us-iso-", "us-iso-east-1"},
		{"aws-iso-b", "us-isob-", "us-isob-east-1"},
		{"aws-iso-e", "eu-isoe-", "eu-isoe-west-1"},
		{"aws-iso-f", "us-isof-", "us-isof-south-1"},
	}
}

func partitionOf(region string) partition {
	all := partitionsOfAWS()
	for _, p := range all[1:] {
		if strings.HasPrefix(region, p.prefix) {
			return p
		}
	}
	return all[0]
}

// partition is the configured one, else that of the regions or the roles that
// are named.
func (c Config) partition() partition {
	for _, p := range partitionsOfAWS() {
		if p.name == c.Partition {
			return p
		}
	}
	for _, a := range c.all() {
		if len(a.Regions) > 0 {
			return partitionOf(a.Regions[0])
		}
		for _, p := range partitionsOfAWS() {
			if strings.HasPrefix(a.RoleARN, "arn:"+p.name+":") {
				return p
			}
		}
	}
	return partitionsOfAWS()[0]
}

// first is the region in which an account's services for the whole of it are
// asked.
func (c Config) first(a Account) string {
	if len(a.Regions) > 0 {
		return a.Regions[0]
	}
	return c.partition().home
}

// credentialRegion is one of the credential's own account, in which it assumes
// roles; another account's need not be.
func (c Config) credentialRegion() string { return c.first(Account{Regions: c.Regions}) }

func (c Config) checkPartition() error {
	var names []string
	for _, p := range partitionsOfAWS() {
		names = append(names, p.name)
	}
	if c.Partition != "" && !slices.Contains(names, c.Partition) {
		return fmt.Errorf("partition: %q is none of %s", c.Partition, strings.Join(names, ", "))
	}
	return nil
}

func (c Config) checkRegions(regions []string) error {
	seen := map[string]bool{}
	for _, r := range regions {
		if !regionForm.MatchString(r) || seen[r] {
			return fmt.Errorf("%q is not a region such as eu-central-1, or stands twice", r)
		}
		if got, want := partitionOf(r).name, c.partition().name; got != want {
			return fmt.Errorf("%s is in the partition %s, and the credential in %s; one credential is good for one partition", r, got, want)
		}
		seen[r] = true
	}
	return nil
}
