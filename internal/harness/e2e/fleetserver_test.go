package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	elasticsearch8 "github.com/elastic/go-elasticsearch/v8"
	"github.com/hashicorp/go-version"
)

// fleetServerVersions are those whose start-up check is tried: the last of each line.
var fleetServerVersions = []string{"8.19.7", "9.5.2"}

// TestFleetServerStart does what fleet-server does before it starts anything else
// when an agent runs it: it asks, as a service account, which version of
// Elasticsearch there is, and goes no further if that is older than its own.
//
// Its packages are internal, and its module cannot be imported. So this is written
// after its source, https://github.com/elastic/fleet-server at v9.5.2: the client's
// configuration after internal/pkg/config/output.go and internal/pkg/es/client.go,
// the check after internal/pkg/es/info.go and internal/pkg/ver/check.go. What it
// does next needs indices, which the server does not have.
func TestFleetServerStart(t *testing.T) {
	s := start(t)
	bearer, err := s.CreateToken(namespace, service, "fleet")
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range fleetServerVersions {
		if err := fleetServerStart(t, s.URL, bearer, own); err != nil {
			t.Errorf("fleet-server %s: %v", own, err)
		}
	}
	// The check can fail.
	if err := fleetServerStart(t, s.URL, bearer, "10.0.0"); !errors.Is(err, errTooOld) {
		t.Errorf("of the next version: got %v", err)
	}
	if err := fleetServerStart(t, s.URL, bearer+"x", "9.5.2"); err == nil || !strings.Contains(err.Error(), "401 security_exception") {
		t.Errorf("a wrong token: got %v", err)
	}
}

var errTooOld = errors.New("unsupported version")

func fleetServerStart(t *testing.T, url, bearer, own string) error {
	t.Helper()
	es, err := elasticsearch8.NewClient(elasticsearch8.Config{
		Addresses: []string{url}, ServiceToken: bearer,
		Header: http.Header{
			"X-Elastic-Product-Origin": {"fleet"},
			"User-Agent":               {"Elastic-Fleet-Server/" + own + " (linux; amd64; unknown; unknown)"},
		},
		MaxRetries: 5, RetryBackoff: func(int) time.Duration { return 500 * time.Millisecond },
		RetryOnStatus: []int{502, 503, 504, 429, 408, 425},
		RetryOnError: func(_ *http.Request, err error) bool {
			return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
		},
	})
	if err != nil {
		return err
	}
	resp, err := es.Info(es.Info.WithContext(t.Context()))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var info struct {
		Version struct{ Number string }
		Error   *struct{ Type, Reason string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
		return err
	}
	if info.Error != nil {
		return fmt.Errorf("%d %s: %s", resp.StatusCode, info.Error.Type, info.Error.Reason)
	}
	there, err := version.NewVersion(strings.TrimSuffix(strings.ToLower(info.Version.Number), "-snapshot"))
	if err != nil {
		return err
	}
	segments := version.Must(version.NewVersion(own)).Segments()
	constraint, err := version.NewConstraint(fmt.Sprintf(">= %d.%d.0", segments[0], segments[1]))
	if err != nil {
		return err
	}
	if !constraint.Check(there) {
		return fmt.Errorf("%w: %v is not %v", errTooOld, there, constraint)
	}
	return nil
}
