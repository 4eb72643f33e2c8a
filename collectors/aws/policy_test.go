package aws

import "testing"

func TestDeniesPlaintext(t *testing.T) {
	deny := func(principal, action, resource, condition string) string {
		return `{"Statement":[{"Effect":"Deny","Principal":` + principal + `,"Action":` + action + `,"Resource":` + resource + `,"Condition":` + condition + `}]}`
	}
	both, plain := `["arn:aws:s3:::b","arn:aws:s3:::b/*"]`, `{"Bool":{"aws:SecureTransport":"false"}}`
	for name, c := range map[string]struct {
		policy string
		want   bool
	}{
		"usual":                  {deny(`"*"`, `"s3:*"`, both, plain), true},
		"everyone by kind":       {deny(`{"AWS":["*"]}`, `["s3:*"]`, both, plain), true},
		"one pattern":            {deny(`"*"`, `"s3:*"`, `"arn:aws-cn:s3:::b*"`, plain), true},
		"list and real boolean":  {deny(`"*"`, `"*"`, `"*"`, `{"BoolIfExists":{"aws:securetransport":[false]}}`), true},
		"one statement alone":    {`{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":` + plain + `}}`, true},
		"objects only":           {deny(`"*"`, `"s3:*"`, `"arn:aws:s3:::b/*"`, plain), false},
		"bucket only":            {deny(`"*"`, `"s3:*"`, `"arn:aws:s3:::b"`, plain), false},
		"another bucket":         {deny(`"*"`, `"s3:*"`, `["arn:aws:s3:::c","arn:aws:s3:::c/*"]`, plain), false},
		"part of the objects":    {deny(`"*"`, `"s3:*"`, `["arn:aws:s3:::b","arn:aws:s3:::b/logs/*"]`, plain), false},
		"some principals":        {deny(`{"AWS":"arn:aws:iam::1:root"}`, `"s3:*"`, both, plain), false},
		"some actions":           {deny(`"*"`, `"s3:PutObject"`, both, plain), false},
		"a second condition":     {deny(`"*"`, `"s3:*"`, both, `{"Bool":{"aws:SecureTransport":"false"},"StringEquals":{"aws:SourceVpc":"v"}}`), false},
		"two keys":               {deny(`"*"`, `"s3:*"`, both, `{"Bool":{"aws:SecureTransport":"false","aws:ViaAWSService":"false"}}`), false},
		"denies TLS":             {deny(`"*"`, `"s3:*"`, both, `{"Bool":{"aws:SecureTransport":"true"}}`), false},
		"another operator":       {deny(`"*"`, `"s3:*"`, both, `{"StringEquals":{"aws:SecureTransport":"false"}}`), false},
		"no condition":           {`{"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}]}`, false},
		"allows":                 {`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*","Condition":` + plain + `}]}`, false},
		"everyone but a service": {`{"Statement":[{"Effect":"Deny","NotPrincipal":{"AWS":"x"},"Action":"s3:*","Resource":"*","Condition":` + plain + `}]}`, false},
	} {
		p, err := parsePolicy(c.policy)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := p.deniesPlaintext("b"); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAllowsEverything(t *testing.T) {
	for text, want := range map[string]bool{
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`:                                                            true,
		`{"Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":"x"},{"Effect":"Allow","Action":["*:*"],"Resource":["*"]}]}`:  true,
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}]}`: true,
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b"}]}`:                                               false,
		`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`:                                                         false,
		`{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`:                                                             false,
		`{"Statement":[{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}]}`:                                                     false,
	} {
		p, err := parsePolicy(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := p.allowsEverything(); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	for _, bad := range []string{"", "[]", "{}", `{"Statement":[]}`, `{"Statement":[{"Action":{"a":1}}]}`} {
		if _, err := parsePolicy(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if _, err := documentAllowsEverything("%zz"); err == nil {
		t.Error("a broken encoding was read")
	}
	got, err := documentAllowsEverything("%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D")
	if err != nil || !got {
		t.Errorf("an encoded document: %v, %v", got, err)
	}
}
