package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"trustpack/examples/metering"
	"trustpack/internal/durable"
	"trustpack/internal/httpreplay"
)

// services are the example's recorded sources, served over real HTTP on
// loopback, and its git repository.
type services struct {
	github, aws, hawkbit *httpreplay.Server
	endpoints            metering.Endpoints
}

// startServices makes the repository in dir and serves the recorded replies,
// which name its commits.
func startServices(dir string) (*services, error) {
	shas, err := metering.BuildRepository(dir)
	if err != nil {
		return nil, fmt.Errorf("making the example's repository: %w", err)
	}
	github, err := metering.GitHubReplies(shas)
	if err != nil {
		return nil, fmt.Errorf("reading recorded replies: %w", err)
	}
	aws, err := httpreplay.Load(metering.AWSReplies())
	if err != nil {
		return nil, fmt.Errorf("reading recorded replies: %w", err)
	}
	hawkbit, err := httpreplay.Load(metering.HawkBitReplies())
	if err != nil {
		return nil, fmt.Errorf("reading recorded replies: %w", err)
	}
	s := &services{}
	for _, srv := range []struct {
		into    **httpreplay.Server
		replies []httpreplay.Exchange
		url     *string
	}{
		{&s.github, github, &s.endpoints.GitHubURL}, {&s.aws, aws, &s.endpoints.AWSURL}, {&s.hawkbit, hawkbit, &s.endpoints.HawkBitURL},
	} {
		server, err := httpreplay.Of(srv.replies, shas)
		if err == nil {
			err = server.Start()
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("serving recorded replies: %w", err)
		}
		*srv.into, *srv.url = server, server.URL()
	}
	if s.endpoints.PublicAddr, err = freeAddr(); err == nil {
		s.endpoints.AdminAddr, err = freeAddr()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the servers.
func (s *services) Close() {
	for _, srv := range []*httpreplay.Server{s.github, s.aws, s.hawkbit} {
		if srv != nil {
			_ = srv.Close() // they only read
		}
	}
}

// unmatched lists requests that no recorded reply answers.
func (s *services) unmatched() []string {
	var out []string
	for _, srv := range []*httpreplay.Server{s.github, s.aws, s.hawkbit} {
		out = append(out, srv.Unmatched()...)
	}
	return out
}

// writeExample lays out the vendor's files.
func writeExample(dir string, fleet *metering.Fleet, s *services) error {
	var config bytes.Buffer
	if err := fleet.WriteConfig(&config, s.endpoints); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, "trustpack.yaml"), config.Bytes(), 0o644); err != nil {
		return err
	}
	schemas, err := metering.Schemas()
	if err != nil {
		return err
	}
	for folder, files := range map[string]fs.FS{"schemas": schemas, "rollouts": metering.Rollouts(), "documents": metering.Documents()} {
		if err := os.CopyFS(filepath.Join(dir, folder), files); err != nil {
			return fmt.Errorf("writing the example's %s: %w", folder, err)
		}
	}
	signers, err := metering.AllowedSigners()
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, "allowed_signers"), signers, 0o644)
}
