//go:build !linux || !amd64

package peers

func instructions(string, int, bool) (float64, error) { return 0, ErrNoSteps }
