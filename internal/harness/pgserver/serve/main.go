// Command serve runs a PostgreSQL server for the tests of a module that does not
// require this one. It prints the server's URL, and ends when its standard input does.
// Its exit status is 3 if PostgreSQL is not installed.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/svctoken/svctoken/internal/harness/pgserver"
)

func main() {
	s, err := pgserver.Start(os.Args[1:]...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, pgserver.ErrNotInstalled) {
			os.Exit(3)
		}
		os.Exit(1)
	}
	fmt.Println(s.URL("postgres"))
	io.Copy(io.Discard, os.Stdin)
	if err := s.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
