package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/internal/eswire"
	"github.com/svctoken/svctoken/tokencache"
)

// credentials lists the tokens of an account: those of the index, which all nodes share,
// and those of each node's file. Operators can see from it whether all nodes have the
// same file.
func (s *server) credentials(w http.ResponseWriter, r *http.Request, _ caller) {
	account := tokenID(r).Account
	docs, err := s.index.List(r.Context(), account)
	if err != nil {
		failed(w, r, err)
		return
	}
	tokens, fileTokens := object{}, object{}
	for _, doc := range docs {
		tokens[doc.Token.Name] = object{}
	}
	files := s.allFiles(r.Context(), account)
	stats := object{"total": len(files), "successful": 0, "failed": 0}
	var failures []object
	nodes := map[string][]string{}
	for _, file := range files {
		if file.err != nil {
			failures = append(failures, failedNode(file.id, file.err))
			continue
		}
		for _, name := range file.names {
			nodes[name] = append(nodes[name], file.node)
		}
	}
	stats["failed"], stats["successful"] = len(failures), len(files)-len(failures)
	if failures != nil {
		stats["failures"] = failures
	}
	for name, list := range nodes {
		slices.Sort(list)
		fileTokens[name] = object{"nodes": list}
	}
	eswire.Reply(w, r, http.StatusOK, object{
		"service_account": account.String(), "count": len(tokens) + len(fileTokens), "tokens": tokens,
		"nodes_credentials": object{"_nodes": stats, "file_tokens": fileTokens},
	})
}

func failedNode(id string, err error) object {
	return object{
		"type": "failed_node_exception", "reason": "node " + eswire.Bracket(id) + " failed", "node_id": id,
		"caused_by": object{"type": "exception", "reason": eswire.Plain(err)},
	}
}

// A nodeFile has the tokens of an account in the file of one node.
type nodeFile struct {
	id, node string
	names    []string
	err      error // why it is not known
}

// filesTimeout is how long a node may take to list its file.
const filesTimeout = 5 * time.Second

// allFiles asks all nodes of the fleet, or this one if it is alone.
func (s *server) allFiles(ctx context.Context, account tokencache.Account) []nodeFile {
	if s.fleet == nil {
		return []nodeFile{{id: s.node.id, node: s.node.name, names: s.fileNames(account)}}
	}
	ctx, cancel := context.WithTimeout(ctx, filesTimeout)
	defer cancel()
	var files []nodeFile
	for _, answer := range s.fleet.Ask(ctx, fileQuestion+account.String()) {
		file := nodeFile{id: answer.ID, node: answer.Name, err: answer.Err}
		if file.err == nil {
			file.err = json.Unmarshal([]byte(answer.Text), &file.names)
		}
		files = append(files, file)
	}
	return files
}

// fileQuestion is followed by an account. The answer is a list of names in JSON.
const fileQuestion = "file tokens 1: "

// answer answers the questions of other nodes. The answer is empty if the question is of
// a later version.
func (s *server) answer(question string) string {
	text, ok := strings.CutPrefix(question, fileQuestion)
	if !ok {
		return ""
	}
	namespace, service, _ := strings.Cut(text, "/")
	b, err := json.Marshal(s.fileNames(tokencache.Account{Namespace: namespace, Service: service}))
	if err != nil {
		panic(err) // strings always encode: a mistake in the code
	}
	return string(b)
}

// fileNames returns the names of an account's tokens in this node's file.
func (s *server) fileNames(account tokencache.Account) []string {
	names := []string{}
	for _, id := range s.file.List() {
		if id.Account == account {
			names = append(names, id.Name)
		}
	}
	return names
}
