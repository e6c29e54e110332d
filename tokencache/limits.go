package tokencache

import (
	"encoding/base64"
	"math"
	"time"
)

// Limits bound the length of a caller's input.
type limits struct {
	secret int // bytes
	bearer int // characters
}

const defaultMaxSecret = 1024

// newLimits returns the limits of GroupConfig.MaxSecret.
func newLimits(maxSecret int) limits {
	l := limits{secret: orDefault(maxSecret, defaultMaxSecret, math.MaxInt), bearer: math.MaxInt}
	if l.secret < math.MaxInt/16 {
		l.bearer = base64.StdEncoding.EncodedLen(len(bearerPrefix) + maxQualified + len(":") + l.secret)
	}
	return l
}

// orDefault returns an option's value: zero stands for the default, negative for
// none.
func orDefault[T int | time.Duration](value, byDefault, none T) T {
	switch {
	case value == 0:
		return byDefault
	case value < 0:
		return none
	default:
		return value
	}
}
