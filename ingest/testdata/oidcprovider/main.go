// Command oidcprovider runs the example server of github.com/zitadel/oidc, a
// certified OpenID provider, on loopback, with users in groups and keys that
// can be rotated. It prints its issuer and serves until its standard input ends.
//
// Beside the provider it listens on /test/, which only the tests know: groups of a
// user, rotation, how often the keys were read, and signatures under the
// provider's key over claims that it would never make.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// people are the users; each has the password "secret of NAME".
var people = []string{"ada", "ben", "carla", "dora", "gast"}

type users struct{}

func (users) ExampleClientID() string { return storage.ServiceUserID }

func (users) GetUserByID(id string) *storage.User {
	for _, p := range people {
		if p == id {
			return &storage.User{ID: p, Username: p, Password: "secret of " + p, FirstName: p, Email: p + "@firm.example", EmailVerified: true}
		}
	}
	return nil
}

func (u users) GetUserByUsername(name string) *storage.User { return u.GetUserByID(name) }

// store is the example's storage, with groups and with keys that change.
type store struct {
	*storage.Storage
	mu     sync.Mutex
	groups map[string][]string
	key    *key
	read   atomic.Int64
}

type key struct {
	id   string
	pair *rsa.PrivateKey
	any  any
}

func newKey(id string) *key {
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	return &key{id, pair, pair}
}

func (k *key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k *key) Algorithm() jose.SignatureAlgorithm          { return jose.RS256 }
func (k *key) Use() string                                 { return "sig" }
func (k *key) ID() string                                  { return k.id }
func (k *key) Key() any                                    { return k.any }

func (s *store) now() *key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

func (s *store) SigningKey(context.Context) (op.SigningKey, error) { return s.now(), nil }

func (s *store) KeySet(context.Context) ([]op.Key, error) {
	k := s.now()
	return []op.Key{&key{k.id, k.pair, &k.pair.PublicKey}}, nil
}

func (s *store) SetUserinfoFromRequest(ctx context.Context, info *oidc.UserInfo, r op.IDTokenRequest, scopes []string) error {
	if err := s.Storage.SetUserinfoFromRequest(ctx, info, r, scopes); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	info.AppendClaims("groups", s.groups[r.GetSubject()])
	return nil
}

func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	found, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{found}, nil
}

// client is a native one that may use the device grant too, and finds what it
// asks for in the ID token.
type client struct{ op.Client }

func (client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeDeviceCode}
}

func (client) IDTokenUserinfoClaimsAssertion() bool { return true }

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	issuer := "http://" + ln.Addr().String() + "/"
	storage.RegisterClients(
		storage.NativeClient("trustpack", "http://127.0.0.1/callback"),
		storage.NativeClient("other", "http://127.0.0.1/callback"),
	)
	s := &store{Storage: storage.NewStorage(users{}), groups: map[string][]string{}, key: newKey("k0")}
	provider := exampleop.SetupServer(issuer, s, slog.New(slog.DiscardHandler), false)
	mux := http.NewServeMux()
	mux.HandleFunc("/test/groups", func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.groups[r.FormValue("user")] = strings.Fields(r.FormValue("groups"))
	})
	mux.HandleFunc("/test/rotate", func(http.ResponseWriter, *http.Request) {
		next := newKey(s.now().id + "'")
		s.mu.Lock()
		defer s.mu.Unlock()
		s.key = next
	})
	mux.HandleFunc("/test/read", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.read.Load()) })
	mux.HandleFunc("/test/sign", func(w http.ResponseWriter, r *http.Request) {
		claims, err := io.ReadAll(r.Body)
		if err != nil || !json.Valid(claims) {
			http.Error(w, "no claims", http.StatusBadRequest)
			return
		}
		k := s.now()
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.pair, KeyID: k.id}}, nil)
		if err != nil {
			log.Fatal(err)
		}
		signed, err := signer.Sign(claims)
		if err != nil {
			log.Fatal(err)
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprint(w, token)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			s.read.Add(1)
		}
		provider.ServeHTTP(w, r)
	})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(issuer)
	log.Fatal(http.Serve(ln, mux))
}
