package signers

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
)

// agentPipe is where the agent of Windows listens.
const agentPipe = `\\.\pipe\openssh-ssh-agent`

// dialAgent opens the agent's named pipe.
func dialAgent(_ context.Context, pipe string) (io.ReadWriteCloser, error) {
	pipe = cmp.Or(pipe, agentPipe)
	f, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("reaching the agent at %s (start the service ssh-agent): %w", pipe, err)
	}
	return f, nil
}
