package server

import (
	"net/http"
	"strings"
)

// parseOrigins reads a comma-separated list of origins, and checks them.
func parseOrigins(list string) ([]string, error) {
	var origins []string
	check := http.NewCrossOriginProtection()
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if err := check.AddTrustedOrigin(text); err != nil {
			return nil, err
		}
		origins = append(origins, text)
	}
	return origins, nil
}
