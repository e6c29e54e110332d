package tokengrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	tokengrpc "github.com/svctoken/svctoken/adapters/tokengrpc"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// A service returns its caller's name as an error. It has one method of each kind, which
// is enough for these tests.
type service struct {
	grpc_health_v1.UnimplementedHealthServer
}

func who(ctx context.Context) error {
	v, ok := tokengrpc.Verdict(ctx)
	md, _ := metadata.FromIncomingContext(ctx)
	return status.Error(codes.Aborted, fmt.Sprint(v.Token, " ", v.Record, " ", ok, " ", len(md.Get("authorization")), " ", md.Get("x-other")))
}

func (service) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return nil, who(ctx)
}

func (service) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	return who(stream.Context())
}

// serve returns a client of a real server in this process.
func serve(t *testing.T, group *tokencache.Group, cfg tokengrpc.Config) grpc_health_v1.HealthClient {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.UnaryInterceptor(tokengrpc.Unary(group, cfg)), grpc.StreamInterceptor(tokengrpc.Stream(group, cfg)))
	grpc_health_v1.RegisterHealthServer(server, service{})
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return grpc_health_v1.NewHealthClient(conn)
}

func TestInterceptors(t *testing.T) {
	var src tokentest.Source[string]
	kit := tokentest.New(t, tokencache.Config{MaxBackoff: -1}, &src)
	good := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	wrong := tokentest.NewToken(t, "elastic/fleet-server/token1", "another-secret")
	down := tokentest.NewToken(t, "elastic/fleet-server/token2", "")
	src.Put(good, "record")
	src.PutAnswer(down.ID(), tokencache.Answer[string]{Held: true, Ask: func(context.Context, tokencache.Secret) (bool, error) {
		return false, errors.New("no route to the source")
	}})
	var reports bytes.Buffer
	plain := tokengrpc.Config{Report: func(_ context.Context, method string, err error) { fmt.Fprintln(&reports, method, err) }}
	open := tokengrpc.Config{Other: func(ctx context.Context, method string) (context.Context, error) {
		if !strings.HasPrefix(method, "/grpc.health.v1.Health/") {
			return nil, status.Error(codes.Internal, method)
		}
		return ctx, nil
	}}
	for _, test := range []struct {
		name   string
		cfg    tokengrpc.Config
		values []string
		code   codes.Code
		text   string
		reason string
	}{
		{"confirmed", plain, []string{tokentest.Authorization(good)}, codes.Aborted, "elastic/fleet-server/token1 record true 0 [kept]", ""},
		{"no credentials", plain, nil, codes.Unauthenticated, "a service token is required", "TOKEN_REQUIRED"},
		{"another scheme", plain, []string{"Basic dXNlcjpwYXNz"}, codes.Unauthenticated, "a service token is required", "TOKEN_REQUIRED"},
		{"another scheme, and Other", open, []string{"Basic dXNlcjpwYXNz"}, codes.Aborted, "// <nil> false 1 [kept]", ""},
		{"a wrong secret", open, []string{tokentest.Authorization(wrong)}, codes.Unauthenticated, "the service token was refused", "TOKEN_REFUSED"},
		{"an outage", plain, []string{tokentest.Authorization(down)}, codes.Unavailable, "the service token cannot be verified at present", "NO_ANSWER"},
		{"two of them", plain, []string{tokentest.Authorization(good), "Basic dXNlcjpwYXNz"}, codes.Unauthenticated, "more than one authorization", "SEVERAL_AUTHORIZATIONS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := serve(t, kit.Group, test.cfg)
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-other", "kept")
			for _, value := range test.values {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
			}
			var unary, streamed metadata.MD
			_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Trailer(&unary))
			check(t, "unary", err, unary, test.code, test.text, test.reason)
			stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Trailer(&streamed))
			if err == nil {
				_, err = stream.Recv()
			}
			check(t, "stream", err, streamed, test.code, test.text, test.reason)
		})
	}
	for _, secret := range []string{wrong.Secret().Reveal(), wrong.RevealBearer(), down.Secret().Reveal(), down.RevealBearer()} {
		if strings.Contains(reports.String(), secret) {
			t.Error("the reports show a secret")
		}
	}
	if !strings.Contains(reports.String(), "/grpc.health.v1.Health/Watch tokencache: not a service token") {
		t.Errorf("got reports\n%s", &reports)
	}
}

func check(t *testing.T, kind string, err error, trailer metadata.MD, code codes.Code, text, reason string) {
	t.Helper()
	got := status.Convert(err)
	if got.Code() != code || got.Message() != text {
		t.Errorf("%s: got %v %q, want %v %q", kind, got.Code(), got.Message(), code, text)
	}
	var gotReason string
	var delay time.Duration
	for _, detail := range got.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			gotReason = d.GetReason()
			if d.GetDomain() != tokengrpc.Domain {
				t.Errorf("%s: got the domain %q", kind, d.GetDomain())
			}
		case *errdetails.RetryInfo:
			delay = d.GetRetryDelay().AsDuration()
		}
	}
	if gotReason != reason {
		t.Errorf("%s: got the reason %q, want %q", kind, gotReason, reason)
	}
	again := code == codes.Unavailable
	if pushback := trailer.Get("grpc-retry-pushback-ms"); (len(pushback) == 1) != again || (delay > 0) != again {
		t.Errorf("%s: got pushback %v and a delay of %v", kind, pushback, delay)
	} else if again && pushback[0] != fmt.Sprint(delay.Milliseconds()) {
		t.Errorf("%s: got pushback %v and a delay of %v, which differ", kind, pushback, delay)
	}
}

// TestGaveUp: a caller that hangs up, or whose deadline has passed, is not an outage. The
// status is the one that the server's own log and metrics see.
func TestGaveUp(t *testing.T) {
	var src tokentest.Source[string]
	kit := tokentest.New(t, tokencache.Config{}, &src)
	hold := src.Hold()
	defer hold.Release()
	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	for _, test := range []struct {
		end  func(context.Context) (context.Context, context.CancelFunc)
		want codes.Code
	}{
		{func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(10*time.Millisecond, cancel)
			return ctx, cancel
		}, codes.Canceled},
		{func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 10*time.Millisecond)
		}, codes.DeadlineExceeded},
	} {
		md := metadata.Pairs("authorization", tokentest.Authorization(token))
		ctx, cancel := test.end(metadata.NewIncomingContext(t.Context(), md))
		_, err := tokengrpc.Unary(kit.Group, tokengrpc.Config{})(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/a/b"}, nil)
		cancel()
		if got := status.Code(err); got != test.want {
			t.Errorf("got %v, want %v", got, test.want)
		}
	}
}

// TestCredentials: a client sends them, but over a connection without TLS only if the
// host allows it.
func TestCredentials(t *testing.T) {
	var src tokentest.Source[string]
	kit := tokentest.New(t, tokencache.Config{}, &src)
	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "supersecret-one")
	src.Put(token, "record")
	client := serve(t, kit.Group, tokengrpc.Config{})
	_, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.PerRPCCredentials(tokengrpc.InsecureCredentials(token)))
	if got := status.Convert(err); got.Code() != codes.Aborted || !strings.HasPrefix(got.Message(), "elastic/fleet-server/token1 record true") {
		t.Errorf("got %v", err)
	}
	_, err = client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.PerRPCCredentials(tokengrpc.Credentials(token)))
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "cannot send secure credentials") {
		t.Errorf("without TLS: got %v", err)
	}
	creds := tokengrpc.Credentials(token)
	if text := fmt.Sprintf("%v %+v %#v %v", creds, creds, creds, err); strings.Contains(text, "supersecret") || strings.Contains(text, token.RevealBearer()) {
		t.Errorf("the secret is shown: %s", text)
	}
}
