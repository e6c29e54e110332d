package peers

import (
	"errors"
	"os"
	"strconv"
)

// ErrNoSteps is returned by Instructions if a program cannot be stepped: it needs
// Linux on amd64, and the permission to trace.
var ErrNoSteps = errors.New("peers: programs cannot be stepped here")

// An InstructionCount is how many instructions a hit takes, and its floor, with
// secrets of one length.
type InstructionCount struct {
	Secret     int
	Hit, Floor float64
}

// Instructions steps through hits and floors, in the command hits beside this package,
// and counts the processor's instructions exactly, as this processor runs them, with
// instructions for SHA-256 for example.
func Instructions() ([]InstructionCount, error) {
	dir, binary, err := buildHits()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var counts []InstructionCount
	for _, n := range SecretLengths {
		secret := []string{"-secret", strconv.Itoa(n)}
		hit, err := instructions(binary, secret...)
		if err != nil {
			return nil, err
		}
		floor, err := instructions(binary, append(secret, "-floor")...)
		if err != nil {
			return nil, err
		}
		counts = append(counts, InstructionCount{Secret: n, Hit: hit, Floor: floor})
	}
	return counts, nil
}
