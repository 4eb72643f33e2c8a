//go:build !windows

package signers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
)

// dialAgent connects to the agent's socket.
func dialAgent(ctx context.Context, socket string) (io.ReadWriteCloser, error) {
	if socket == "" {
		return nil, errors.New("SSH_AUTH_SOCK is not set: no agent runs here, or it was not let through")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("reaching the agent that SSH_AUTH_SOCK names: %w", err)
	}
	return conn, nil
}
