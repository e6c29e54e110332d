package tokentest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

func openMemory(testing.TB) (indexsource.Index, tokentest.Backend) {
	index := new(indexsource.Memory)
	return index, memoryBackend(index)
}

func memoryBackend(index *indexsource.Memory) tokentest.Backend {
	return tokentest.Backend{
		Create: func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			return index.Create(ctx, id, "operator")
		},
		Delete: index.Delete,
		Replace: func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
			return index.Rotate(ctx, id, 0, "operator")
		},
		SetEnabled: index.SetEnabled,
		Hidden: func() (hashes []string) {
			docs, _ := index.List(context.Background(), tokencache.Account{Namespace: "elastic", Service: "fleet-server"})
			for _, doc := range docs {
				hashes = append(hashes, doc.Hash.Reveal())
			}
			return hashes
		},
	}
}

func TestMemory(t *testing.T) { tokentest.RunIndex(t, openMemory) }

func TestMemorySource(t *testing.T) {
	tokentest.RunSource(t, func(t testing.TB) (tokencache.Source[indexsource.Document], tokentest.Backend) {
		index, backend := openMemory(t)
		return indexsource.New(index), backend
	})
}

func TestFile(t *testing.T) {
	tokentest.RunSource(t, func(t testing.TB) (tokencache.Source[filesource.Record], tokentest.Backend) {
		path := filepath.Join(t.TempDir(), "service_tokens")
		file, err := filesource.Open(path, filesource.Config{Poll: -1, Rest: -1, FailClosed: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(file.Close)
		return file, tokentest.Backend{
			Create: file.Create,
			Delete: file.Delete,
			SetFailing: func(failing bool) {
				if err := breakFile(path, failing); err != nil {
					t.Fatal(err)
				}
				if err := file.Reload(); (err != nil) != failing {
					t.Fatalf("Reload: got %v", err)
				}
			},
			Hidden: func() (hashes []string) {
				for line := range strings.Lines(read(t, path)) {
					_, hash, _ := strings.Cut(strings.TrimSpace(line), ":")
					hashes = append(hashes, hash)
				}
				return hashes
			},
		}
	})
}

// breakFile puts a folder in the file's place, and the file back again.
func breakFile(path string, broken bool) error {
	if !broken {
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.Rename(path+".away", path)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		return err
	}
	return os.Mkdir(path, 0o777)
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
