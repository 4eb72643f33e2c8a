package signers

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	"trustpack/internal/httpreplay"
	"trustpack/pack"
)

const (
	keyARN   = "arn:aws:kms:eu-central-1:111122223333:key/0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
	keyAlias = "alias/packs"
)

// kmsReplies are what KMS answers for one key (API reference, GetPublicKey and
// Sign), for the messages that signs asks for.
func kmsReplies(t *testing.T, key crypto.Signer) []httpreplay.Exchange {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	spec, algorithm := "ECC_NIST_EDWARDS25519", "ED25519_SHA_512"
	if publicOf(t, key).Type() == pack.P256 {
		spec, algorithm = "ECC_NIST_P256", "ECDSA_SHA_256"
	}
	signed := map[string]string{"Authorization": "*Credential=AKIDEXAMPLE/*/eu-central-1/kms/aws4_request*", "X-Amz-Security-Token": "session"}
	var out []httpreplay.Exchange
	for _, id := range []string{keyARN, keyAlias} {
		out = append(out, httpreplay.Exchange{
			Request: httpreplay.Request{Method: "POST", Target: "TrentService.GetPublicKey", Headers: signed, JSON: map[string]any{"KeyId": id}},
			Reply: httpreplay.Reply{JSON: map[string]any{
				"KeyId": keyARN, "KeySpec": spec, "CustomerMasterKeySpec": spec, "KeyUsage": "SIGN_VERIFY",
				"PublicKey": base64.StdEncoding.EncodeToString(der), "SigningAlgorithms": []any{algorithm},
			}},
		})
	}
	for _, message := range []string{"message", strings.Repeat("m", 3000), strings.Repeat("m", 4096), "m"} {
		opts, data := crypto.SignerOpts(crypto.Hash(0)), []byte(message)
		if algorithm == "ECDSA_SHA_256" {
			sum := sha256.Sum256(data)
			opts, data = crypto.SHA256, sum[:]
		}
		sig, err := key.Sign(rand.Reader, data, opts)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, httpreplay.Exchange{
			Request: httpreplay.Request{Method: "POST", Target: "TrentService.Sign", Headers: signed, JSON: map[string]any{
				"KeyId": keyARN, "Message": base64.StdEncoding.EncodeToString([]byte(message)), "MessageType": "RAW", "SigningAlgorithm": algorithm,
			}},
			Reply: httpreplay.Reply{JSON: map[string]any{"KeyId": keyARN, "Signature": base64.StdEncoding.EncodeToString(sig), "SigningAlgorithm": algorithm}},
		})
	}
	return out
}

func kmsServer(t *testing.T, exchanges []httpreplay.Exchange) (*httpreplay.Server, Options) {
	t.Helper()
	server, err := httpreplay.Of(exchanges, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	env := map[string]string{"ID": "AKIDEXAMPLE", "SECRET": "not-a-secret", "TOKEN": "session"}
	return server, Options{
		Getenv: func(name string) string { return env[name] },
		KMS:    KMSConfig{Endpoint: server.URL(), Credentials: Credentials{"ID", "SECRET", "TOKEN"}},
	}
}

func TestKMS(t *testing.T) {
	for _, kt := range []pack.KeyType{pack.Ed25519, pack.P256} {
		t.Run(string(kt), func(t *testing.T) {
			key := newKey(t, kt)
			server, o := kmsServer(t, kmsReplies(t, key))
			for _, id := range []string{keyARN, keyAlias} {
				if id == keyAlias {
					refuses(t, "awskms:"+id, o, "the region is not known")
					o.KMS.Region = "eu-central-1"
				}
				s, err := Open(context.Background(), "awskms:"+id, o)
				if err != nil {
					t.Fatal(err)
				}
				signs(t, s, publicOf(t, key))
				if _, err := s.Sign([]byte(strings.Repeat("m", 4096))); err != nil {
					t.Errorf("4096 bytes: %v", err)
				}
				if _, err := s.Sign([]byte(strings.Repeat("m", 4097))); err == nil || !strings.Contains(err.Error(), "no more than 4096") {
					t.Errorf("4097 bytes: %v", err)
				}
			}
			if u := server.Unmatched(); len(u) > 0 {
				t.Errorf("asked for what was not recorded: %q", u)
			}
		})
	}
}

// TestKMSThatIsWrong: what KMS refuses, and keys that are for something else,
// give no signer; a signature of another key is not given out.
func TestKMSThatIsWrong(t *testing.T) {
	key := newKey(t, pack.P256)
	for _, tc := range []struct {
		name   string
		change func(get, sign *httpreplay.Reply)
		why    string
	}{
		{"another use", func(get, _ *httpreplay.Reply) { get.JSON.(map[string]any)["KeyUsage"] = "KEY_AGREEMENT" }, "not for SIGN_VERIFY"},
		{"another algorithm", func(get, _ *httpreplay.Reply) {
			get.JSON.(map[string]any)["SigningAlgorithms"] = []any{"ECDSA_SHA_384"}
		}, "ECDSA_SHA_256"},
		{"no key", func(get, _ *httpreplay.Reply) { get.JSON.(map[string]any)["PublicKey"] = "AAAA" }, "reading the public key"},
		{"denied", func(get, _ *httpreplay.Reply) {
			*get = httpreplay.Reply{Status: 400, JSON: map[string]any{"__type": "AccessDeniedException", "Message": "not authorized to perform: kms:GetPublicKey"}}
		}, "kms:GetPublicKey"},
		{"disabled", func(_, sign *httpreplay.Reply) {
			*sign = httpreplay.Reply{Status: 400, JSON: map[string]any{"__type": "DisabledException", "message": keyARN + " is disabled."}}
		}, "is disabled"},
		{"another signature", func(_, sign *httpreplay.Reply) { sign.JSON.(map[string]any)["Signature"] = "MAYCAQECAQE=" }, "no signature by its own key"},
	} {
		exchanges := kmsReplies(t, key)
		tc.change(&exchanges[0].Reply, &exchanges[2].Reply)
		_, o := kmsServer(t, exchanges)
		s, err := Open(context.Background(), "awskms:"+keyARN, o)
		if err == nil {
			_, err = s.Sign([]byte("message"))
		}
		if err == nil || !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.why)
		}
		if err != nil && strings.Contains(err.Error(), "not-a-secret") {
			t.Errorf("%s: the error tells the secret: %v", tc.name, err)
		}
	}
	_, o := kmsServer(t, kmsReplies(t, key))
	refuses(t, "awskms:", o, "no key is named")
	o.KMS.Region = "us-east-1"
	refuses(t, "awskms:"+keyARN, o, "pack.kms.region says us-east-1")
	o.KMS.Region, o.KMS.Credentials.SessionTokenEnv = "", "NONE"
	refuses(t, "awskms:"+keyARN, o, "NONE is empty")
	o.KMS.Credentials = Credentials{AccessKeyIDEnv: "ID"}
	refuses(t, "awskms:"+keyARN, o, "or neither")
}
