package server

import (
	"cmp"
	"context"
	"io"
	"os"
	"strings"
	"text/template"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// Samples are the values that printSample prints.
type samples struct{ File, Index, URL, Route, Curl, Operator string }

var sampleText = template.Must(template.New("sample").Parse(`
A token that works: {{.File}}
{{with .Index}}Another, of the index: {{.}}
{{end}}
Authenticate, twice. The header X-Svctoken-From-Memory says false, then true:
  {{.Curl}} -i -H "Authorization: Bearer {{.File}}" {{.URL}}/_security/_authenticate
{{if .Index}}  {{.Curl}} -i -H "Authorization: Bearer {{.Index}}" {{.URL}}/_security/_authenticate
{{end}}Clear one token, two, or all tokens of the account, from both caches at one instant; then it says false again:
  {{.Operator}} -X POST "{{.Route}}/token1/_clear_cache"
  {{.Operator}} -X POST "{{.Route}}/token1,token2/_clear_cache"
  {{.Operator}} -X POST "{{.Route}}/*/_clear_cache"
Create a token in the index, and delete it, so that it is refused from then on:
  {{.Operator}} -X POST "{{.Route}}/token4"
  {{.Operator}} -X DELETE "{{.Route}}/token4"
See what the caches did, as JSON, or in a browser:
  {{.Operator}} "{{.URL}}/_stats?pretty"
  {{.URL}}/
`))

// fleetServer is the account of the sample's tokens.
var fleetServer = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// writeSample writes a service_tokens file with two tokens, and returns the bearer of the
// first. It is written before the server looks, so that nothing is logged about it.
func writeSample(path string) (bearer string, err error) {
	var text strings.Builder
	text.WriteString("# a sample, which goes with the process\n")
	for _, name := range []string{"token1", "token2"} {
		token, err := tokencache.NewToken(fleetServer.TokenID(name), tokencache.GenerateSecret())
		if err != nil {
			return "", err
		}
		text.WriteString(token.ID().String() + ":" + tokenhash.Stretched(token.Secret()).Reveal() + "\n")
		bearer = cmp.Or(bearer, token.RevealBearer())
	}
	return bearer, os.WriteFile(path, []byte(text.String()), 0o600)
}

// printSample prints how to try the sample's tokens. It adds one to an index in memory,
// and changes no index that outlives the process.
func (s *server) printSample(ctx context.Context, to io.Writer, l listening, bearer, generated string) error {
	out := samples{File: bearer, URL: l.url(), Curl: "curl -s"}
	out.Route = out.URL + "/_security/service/elastic/fleet-server/credential/token"
	if _, ok := s.index.(memory); ok {
		token, err := s.index.Create(ctx, fleetServer.TokenID("token3"), "sample")
		if err != nil {
			return err
		}
		out.Index = token.RevealBearer()
	}
	if l.caPath != "" {
		out.Curl += " --cacert " + shellQuote(l.caPath)
	}
	out.Operator = out.Curl + " -u " + shellQuote(s.users.list[0].name)
	if generated != "" {
		out.Operator = out.Curl + " -u " + shellQuote(generated) // the only place that says it
	}
	return sampleText.Execute(to, out)
}

// shellQuote quotes a text for a shell.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-./") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
