package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// again is how often a server is asked for its revision.
const again = 200 * time.Millisecond

// await waits until each server that -wait names has applied the store's last change, and
// prints a line for each when it has.
func (c *command) await(ctx context.Context, s store) error {
	index, ok := s.(sqlStore)
	if !ok {
		return nil
	}
	if err := index.Poll(ctx); err != nil {
		return fmt.Errorf("the change is in force, but its revision cannot be read: %w", err)
	}
	want := index.Status().Rev
	for url := range strings.SplitSeq(c.wait, ",") {
		if err := awaitServer(ctx, url, want); err != nil {
			return fmt.Errorf("the change is in force in the database, as revision %d; whether %s has applied it is not known: %w", want, url, err)
		}
		fmt.Fprintf(c.stderr, "admin: %s has applied revision %d\n", url, want)
	}
	return nil
}

func awaitServer(ctx context.Context, url string, want int64) error {
	for {
		got, err := revision(ctx, url)
		if err == nil && got >= want {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it has applied revision %d", got)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(again):
		}
	}
}

// revision asks a server which revision it has applied: at /metrics, or at the /_stats of
// examples/authserver.
func revision(ctx context.Context, url string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, errors.New("it is not a URL")
	}
	if user, password, ok := strings.Cut(os.Getenv("SVCTOKEN_WAIT"), ":"); ok {
		req.SetBasicAuth(user, password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, errors.New("it does not answer")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("it answers %s", resp.Status)
	}
	if strings.HasSuffix(req.URL.Path, "/metrics") {
		return revisionOfMetrics(resp.Body)
	}
	var stats struct {
		Index struct {
			Revision string `json:"revision"`
		} `json:"index"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		return 0, errors.New("its statistics cannot be read")
	}
	n, err := strconv.ParseInt(stats.Index.Revision, 10, 64)
	if err != nil {
		return 0, errors.New("its statistics have no revision of an index")
	}
	return n, nil
}

func revisionOfMetrics(r io.Reader) (int64, error) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "svctoken_index_revision"); ok {
			n, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
			return int64(n), err
		}
	}
	return 0, errors.New("its metrics have no svctoken_index_revision")
}
