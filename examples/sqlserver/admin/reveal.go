package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/svctoken/svctoken/tokencache"
)

// reveal makes a token, and shows its bearer once. It first opens the file to show it in:
// a secret that cannot be shown would be lost.
func (c *command) reveal(create func() (tokencache.Token, error)) error {
	if c.out == "" {
		if !isTerminal(c.stdout) {
			return fmt.Errorf("standard output is no terminal: use -out FILE for the secret%w", errUsage)
		}
		token, err := create()
		if token.ID() != (tokencache.TokenID{}) {
			fmt.Fprintln(c.stdout, c.shown(token))
		}
		return err
	}
	file, err := os.OpenFile(c.out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	token, err := create()
	if token.ID() == (tokencache.TokenID{}) {
		file.Close()
		os.Remove(c.out)
		return err
	}
	_, writeErr := file.WriteString(c.shown(token) + "\n")
	if writeErr = errors.Join(writeErr, file.Sync(), file.Close()); writeErr != nil {
		writeErr = fmt.Errorf("the token %s is in force, but its bearer could not be written; rotate it: %w", token.ID(), writeErr)
	}
	return errors.Join(err, writeErr)
}

// shown returns the bearer, in an object with -json.
func (c *command) shown(token tokencache.Token) string {
	if !c.json {
		return token.RevealBearer()
	}
	b, err := json.Marshal(line{"token": token.ID().String(), "bearer": token.RevealBearer()})
	if err != nil {
		panic(err) // of strings
	}
	return string(b)
}

// isTerminal reports whether the file is a terminal. That it is a device is not enough:
// so is /dev/null.
func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) }
