package aws

import (
	"errors"
	"fmt"
	"regexp"
)

// Account is one more account, which is read as a role of its own that the
// configured credential may assume (sts:AssumeRole).
type Account struct {
	Account string `yaml:"account"`  // twelve digits; the role must be one of it
	RoleARN string `yaml:"role_arn"` // arn:aws:iam::ACCOUNT:role/NAME
	// ExternalIDEnv names the environment variable with the external ID that the
	// role's trust policy asks for.
	ExternalIDEnv string   `yaml:"external_id_env"`
	Regions       []string `yaml:"regions"` // as in Config, for this account
}

var roleForm = regexp.MustCompile(`^arn:(aws[a-z-]*):iam::(\d{12}):role/[\w+=,.@/-]+$`)

// all are the accounts to read: first that of the credential itself, where it
// is named.
func (c Config) all() []Account {
	var all []Account
	if c.Account != "" {
		all = append(all, Account{Account: c.Account, Regions: c.Regions})
	}
	return append(all, c.Accounts...)
}

func (c Config) checkAccounts() error {
	if c.Account == "" && len(c.Regions) > 0 && len(c.Accounts) > 0 {
		return errors.New("regions: they are those of account, which is not given; each of accounts has its own")
	}
	seen := map[string]bool{}
	if c.Account != "" || len(c.Accounts) == 0 {
		if !accountForm.MatchString(c.Account) {
			return fmt.Errorf("account %q: want the twelve digits of the account", c.Account)
		}
		seen[c.Account] = true
	}
	if err := c.checkRegions(c.Regions); err != nil {
		return fmt.Errorf("regions: %w", err)
	}
	for i, a := range c.Accounts {
		at := fmt.Sprintf("accounts[%d]", i)
		role := roleForm.FindStringSubmatch(a.RoleARN)
		switch {
		case !accountForm.MatchString(a.Account):
			return fmt.Errorf("%s: account %q: want the twelve digits of the account", at, a.Account)
		case seen[a.Account]:
			return fmt.Errorf("%s: account %s stands twice", at, a.Account)
		case role == nil:
			return fmt.Errorf("%s: role_arn %q: want the role to read it as, such as arn:aws:iam::%s:role/evidence-reader", at, a.RoleARN, a.Account)
		case role[2] != a.Account:
			return fmt.Errorf("%s: role_arn is a role of account %s, and the account is %s", at, role[2], a.Account)
		case role[1] != c.partition().name:
			return fmt.Errorf("%s: role_arn is in the partition %s, and the credential in %s; one credential is good for one partition", at, role[1], c.partition().name)
		}
		if err := c.checkRegions(a.Regions); err != nil {
			return fmt.Errorf("%s: regions: %w", at, err)
		}
		seen[a.Account] = true
	}
	return nil
}
