package pictor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

const (
	// Unreachable is the reason if nobody answered, or the connection broke.
	Unreachable = "UNREACHABLE"
	// NotSaved is the reason if a picture could not be written here; the gateway keeps it.
	NotSaved = "NOT_SAVED"

	domain       = "pictor"
	shuttingDown = "SHUTTING_DOWN"
	noAnswer     = "no answer in time"
)

// What gRPC's own texts mean (grpc-go 1.80), the most telling first; others, e.g. a proxy's, stay as they are.
var plainWords = []struct {
	plain string // with the address in place of %[1]s
	parts []string
}{
	{
		"something answers at %s, but without TLS; leave out https://",
		[]string{"first record does not look like a TLS handshake"},
	},
	{
		"something answers at %s, but TLS with it fails; its certificate must be one that is trusted here",
		[]string{"authentication handshake failed"},
	},
	{
		"something answers at %s, but it does not speak gRPC; look at the port in PICTOR_ADDRESS",
		[]string{"looked like an HTTP/1.1 header", "server preface: http2: frame too large"}, // HTTP/1.0, too
	},
	{
		"something answers at %[1]s, and hangs up; if it speaks TLS, say https://%[1]s",
		[]string{"error reading server preface"},
	},
	{
		"nothing answers at %s (nobody knows its name); start the gateway there, or set PICTOR_ADDRESS",
		[]string{"no such host", "produced zero addresses", "name resolver error"},
	},
	{
		"nothing answers at %s; start the gateway there, or set PICTOR_ADDRESS",
		[]string{"connection refused", "i/o timeout", "no route to host", "network is unreachable"},
	},
	{
		"the connection to %s was lost",
		[]string{
			"reset by peer", "broken pipe", "EOF", "error reading from server", "transport is closing",
			"closing transport", "GOAWAY", "RST_STREAM", "closed network connection",
		},
	},
}

// Violation is one field that is wrong, by its path in the request message, with what would work.
type Violation struct{ Field, Text string }

// Error says that the gateway refused, failed, or did not answer.
//
// Get at it with errors.As. errors.Is(err, context.Canceled) and context.DeadlineExceeded hold for calls that were ended
// here.
type Error struct {
	// Code is gRPC's.
	Code codes.Code
	// Reason is a name of the contract's ErrorReason without prefix. If the gateway itself said nothing, it is
	// [Unreachable] or the name of the code, e.g. DEADLINE_EXCEEDED for one that passed here.
	Reason string
	// Message is for people.
	Message string
	// Metadata holds what varies in the message.
	Metadata map[string]string
	// Violations are the fields that are wrong.
	Violations []Violation
	// RetryAfter is when to come back; 0 if the gateway did not say.
	RetryAfter time.Duration
	// GenerationID names the generation, if one was accepted.
	GenerationID string
	// RequestID is that of the call that failed, if it was one that makes pictures.
	RequestID string
	// Paid says that money may be spent: repeat such a call only with the same request_id.
	Paid bool

	told   bool // by the gateway itself
	unsent bool // not a byte of the call left, in none of gRPC's own tries
	cause  error
}

// Error is `REASON: message`.
func (e *Error) Error() string { return e.Reason + ": " + e.Message }

// Unwrap answers what gRPC or the disk said.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus makes status.FromError and status.Code work.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Error()) }

// Is tells calls that were ended here by their context.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == codes.Canceled && !e.told
	case context.DeadlineExceeded:
		return e.Code == codes.DeadlineExceeded && !e.told
	}
	return false
}

// isLost tells whether only the connection ended, or this server goes away: accepted work goes on and can be followed.
func (e *Error) isLost() bool {
	goesAway := e.Reason == shuttingDown && !e.isEnd()
	return e.Code == codes.Unavailable && (e.Reason == Unreachable || goesAway)
}

// isEnd tells whether the gateway says how a generation ended, and does not only refuse this call.
func (e *Error) isEnd() bool { return e.Metadata["generation_id"] != "" }

// about adds what only the caller's side knows: which request it was, and how long it waited for an answer.
func (e *Error) about(requestID string, waited time.Duration) *Error {
	e.RequestID = requestID
	if e.Message == noAnswer {
		e.Message = fmt.Sprintf("no answer within %s s", strings.TrimSuffix(fmt.Sprintf("%.1f", waited.Seconds()), ".0"))
	}
	return e
}

// within is the same refusal, told of the message that is in the field that prefix names.
func (e *Error) within(prefix string) *Error {
	inner := *e
	inner.Violations = nil
	for _, v := range e.Violations {
		inner.Violations = append(inner.Violations, Violation{strings.TrimPrefix(v.Field, prefix), v.Text})
	}
	inner.Message = strings.TrimPrefix(e.Message, prefix)
	if field, named := e.Metadata["field"]; named {
		inner.Metadata = maps.Clone(e.Metadata)
		inner.Metadata["field"] = strings.TrimPrefix(field, prefix)
	}
	return &inner
}

// interrupted is what a lost connection becomes when the caller has no more time for it.
func (e *Error) interrupted(why error) *Error {
	ended := *e
	ended.cause, ended.told = why, false
	ended.Code = status.FromContextError(why).Code()
	ended.Reason = reasonOf(ended.Code)
	ended.Message = "ended here while waiting for the gateway to come back; " + e.Message
	return &ended
}

// asError is an error of this package, whatever it was; nil stays nil.
func asError(err error) *Error {
	var ours *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ours):
		return ours
	}
	unknown := &attempt{}
	unknown.sent.Store(true)
	return fromCall(err, unknown, nil, nil)
}

// fromCall reads everything that a failed call tells: code, status details, metadata of either end.
func fromCall(err error, call *attempt, header, trailer metadata.MD) *Error {
	said := status.Convert(err)
	found := &Error{Code: said.Code(), Message: said.Message(), cause: err, unsent: !call.sent.Load()}
	for _, detail := range said.Details() {
		found.read(detail)
	}
	if !found.told {
		found.Message = inPlainWords(found.Code, found.Message, call.address)
	}
	if found.Reason == "" {
		found.Reason = reasonOf(found.Code)
	}
	entry := func(key string) string {
		for _, end := range []metadata.MD{trailer, header} {
			if values := end.Get(key); len(values) > 0 {
				return values[0]
			}
		}
		return ""
	}
	if set := entry("pictor-set-id"); set != "" && found.Metadata["set_id"] == "" {
		if found.Metadata == nil {
			found.Metadata = map[string]string{}
		}
		found.Metadata["set_id"] = set
	}
	if found.GenerationID = entry("pictor-generation-id"); found.GenerationID == "" {
		found.GenerationID = found.Metadata["generation_id"]
	}
	found.Paid = found.Metadata["paid"] == "true"
	return found
}

func (e *Error) read(detail any) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		if detail.Domain == domain {
			e.Reason, e.Metadata, e.told = detail.Reason, detail.Metadata, true
		}
	case *errdetails.BadRequest:
		for _, v := range detail.FieldViolations {
			e.Violations = append(e.Violations, Violation{v.Field, v.Description})
		}
	case *errdetails.RetryInfo:
		e.RetryAfter = detail.RetryDelay.AsDuration()
	}
}

// reasonOf is the reason of a failure that the gateway did not give one for.
func reasonOf(code codes.Code) string {
	if code == codes.Unavailable {
		return Unreachable
	}
	// the contract's own spelling, as in DEADLINE_EXCEEDED; Go has `DeadlineExceeded`, and one L in `Canceled`
	return [...]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
		"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}[min(code, codes.Unauthenticated)]
}

func inPlainWords(code codes.Code, text, address string) string {
	switch code {
	case codes.DeadlineExceeded:
		return noAnswer
	case codes.Canceled:
		return "cancelled here"
	case codes.Unavailable:
		for _, words := range plainWords {
			for _, part := range words.parts {
				if strings.Contains(text, part) {
					return fmt.Sprintf(words.plain, address)
				}
			}
		}
	}
	return text
}

// attempt is what is known here of one call on its way.
type attempt struct {
	address string
	sent    atomic.Bool
}

type attemptKey struct{}

// noteSent is told by gRPC what leaves: a call of which nothing did costs nothing, and needs no doubt.
type noteSent struct{}

func (noteSent) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (noteSent) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (noteSent) HandleConn(context.Context, stats.ConnStats)                       {}
func (noteSent) HandleRPC(ctx context.Context, happened stats.RPCStats) {
	if _, left := happened.(*stats.OutHeader); left {
		if call, ok := ctx.Value(attemptKey{}).(*attempt); ok {
			call.sent.Store(true)
		}
	}
}

func begin(ctx context.Context, connection *grpc.ClientConn, pairs []string) (context.Context, *attempt) {
	call := &attempt{address: connection.Target()}
	return metadata.AppendToOutgoingContext(context.WithValue(ctx, attemptKey{}, call), pairs...), call
}

// identifyUnary sends the metadata with every unary call, and turns its error into ours.
func identifyUnary(pairs []string) grpc.UnaryClientInterceptor {
	return func(
		ctx context.Context, method string, request, reply any, connection *grpc.ClientConn,
		invoke grpc.UnaryInvoker, options ...grpc.CallOption,
	) error {
		var header, trailer metadata.MD
		options = append(options, grpc.Header(&header), grpc.Trailer(&trailer))
		ctx, call := begin(ctx, connection, pairs)
		if err := invoke(ctx, method, request, reply, connection, options...); err != nil {
			return fromCall(err, call, header, trailer)
		}
		return nil
	}
}

// identifyStream does the same for streams.
func identifyStream(pairs []string) grpc.StreamClientInterceptor {
	return func(
		ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string,
		open grpc.Streamer, options ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		ctx, call := begin(ctx, connection, pairs)
		stream, err := open(ctx, description, connection, method, options...)
		if err != nil {
			return nil, fromCall(err, call, nil, nil)
		}
		return tellingStream{stream, call}, nil
	}
}

type tellingStream struct {
	grpc.ClientStream
	call *attempt
}

func (s tellingStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	header, _ := s.Header()
	return fromCall(err, s.call, header, s.Trailer())
}
