package signers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"trustpack/pack"
)

// commandKey signs with a command of the user's.
type commandKey struct {
	ctx    context.Context
	argv   []string
	o      Options
	public pack.PublicKey
}

// maxOutput bounds what is taken from a command.
const maxOutput = 64 << 10

// openCommand asks a command for its public key. The protocol: the command is
// run with its arguments and one more word.
//
//	public-key  it writes its public key to standard output, as an OpenSSH line or PEM
//	sign        it reads the message from standard input, to its end, and writes the
//	            signature to standard output, and nothing else: the 64 bytes of Ed25519
//	            (RFC 8032) over the message, or the DER of ECDSA P-256 over its SHA-256
//
// It ends with 0. What it says on standard error is shown. A command is split
// at spaces; what is in '…' or "…" stays together. No shell sees it, unless
// the user writes one.
func openCommand(ctx context.Context, command string, o Options) (pack.Signer, error) {
	argv, err := splitWords(command)
	if err != nil {
		return nil, err
	}
	k := &commandKey{ctx: ctx, argv: argv, o: o}
	line, err := k.run("public-key", nil)
	if err != nil {
		return nil, err
	}
	k.public, err = pack.ParsePublicKey(line)
	return k, err
}

func (k *commandKey) Public() pack.PublicKey { return k.public }

func (k *commandKey) Sign(message []byte) ([]byte, error) { return k.run("sign", message) }

func (k *commandKey) run(word string, in []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(k.ctx, k.o.Timeout)
	defer cancel()
	program := k.argv[0]
	if filepath.Base(program) != program { // a path, not a name to be looked up
		var err error
		if program, err = filepath.Abs(k.o.path(program)); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, program, append(k.argv[1:len(k.argv):len(k.argv)], word)...)
	cmd.Dir, cmd.WaitDelay = k.o.Dir, 5*time.Second
	cmd.Stdin = bytes.NewReader(in)
	out := &bounded{left: maxOutput}
	cmd.Stdout, cmd.Stderr = out, k.o.Stderr
	err := cmd.Run()
	switch {
	case out.left < 0:
		return nil, fmt.Errorf("the command wrote more than %d bytes for %s", maxOutput, word)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("the command did not end within %s for %s", k.o.Timeout, word)
	case err != nil:
		return nil, fmt.Errorf("running the command for %s: %w", word, err)
	}
	return out.buf.Bytes(), nil
}

// bounded takes so many bytes and then fails.
type bounded struct {
	buf  bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, io.ErrShortBuffer
	}
	return b.buf.Write(p)
}

// splitWords splits a command at spaces, save those in quotes.
func splitWords(command string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	for _, r := range command {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, inWord = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote of the command does not end")
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 || words[0] == "" {
		return nil, errors.New("after exec: no command is named")
	}
	return words, nil
}
