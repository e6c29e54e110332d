package tokengrpc

import (
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/svctoken/svctoken/tokencache"
)

// Domain is the domain of the google.rpc.ErrorInfo that each status of this package
// has. Its reasons are TOKEN_REQUIRED, TOKEN_REFUSED, SEVERAL_AUTHORIZATIONS,
// OVERLOADED and NO_ANSWER.
const Domain = "svctoken"

// The statuses of calls that are turned away.
var (
	errMissing = statusError(codes.Unauthenticated, "TOKEN_REQUIRED", "a service token is required")
	errRefused = statusError(codes.Unauthenticated, "TOKEN_REFUSED", "the service token was refused")
	errSeveral = statusError(codes.Unauthenticated, "SEVERAL_AUTHORIZATIONS", "more than one authorization")
)

func statusError(code codes.Code, reason, text string, more ...protoadapt.MessageV1) error {
	details := append([]protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: Domain}}, more...)
	st, err := status.New(code, text).WithDetails(details...)
	if err != nil {
		panic(err) // for details of OK, or that cannot be encoded: neither is possible here
	}
	return st.Err()
}

// noAnswer returns the status for a call that got no answer, with the time after which to
// try again. It has nothing of what a source said.
func noAnswer(err error, wait time.Duration) error {
	reason := "NO_ANSWER"
	if errors.Is(err, tokencache.ErrOverloaded) {
		reason = "OVERLOADED"
	}
	return statusError(codes.Unavailable, reason, "the service token cannot be verified at present",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
}

// retryAfter returns how long a client should wait before it tries again: one second if
// that is not known.
func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*tokencache.NoAnswerError](err); ok && e.RetryAfter > 0 {
		return e.RetryAfter
	}
	return time.Second
}
