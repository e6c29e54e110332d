package tokencache

import (
	"encoding/base64"
	"math"
)

// Limits are how long what a caller sends may be.
type limits struct {
	secret int // bytes
	bearer int // characters
}

// newLimits returns the limits of GroupConfig.MaxSecret.
func newLimits(maxSecret int) limits {
	l := limits{secret: orDefault(maxSecret, defaultMaxSecret, math.MaxInt), bearer: math.MaxInt}
	if l.secret < math.MaxInt/16 {
		l.bearer = base64.StdEncoding.EncodedLen(len(bearerPrefix) + maxQualified + len(":") + l.secret)
	}
	return l
}
