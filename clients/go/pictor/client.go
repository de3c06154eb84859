// Package pictor is the Go client of Pictor: whole pictures, one kind of error, and no lost generation.
//
// Requests and answers are the contract's own messages (pictor.dev/gen/pictor/v1). The client adds what is hard to do by
// hand: streams with whole previews that survive a lost connection, downloads that go on where they broke, and errors
// that carry everything the gateway said. Every other call is on the stubs [Client.Images], [Client.History],
// [Client.Usage] and [Client.Catalog], with the same key and the same errors.
//
// Every generating call gets a request_id unless it has one, so that it can be repeated without paying twice.
package pictor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	_ "embed"
	"fmt"
	"iter"
	"math/big"
	"os"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	pictorv1 "pictor.dev/gen/pictor/v1"
)

const (
	defaultAddress = "127.0.0.1:50051"
	// Longest message we take: max_inline_bytes may be raised up to this; gRPC's own default is 4 MiB.
	receiveBytes = 64 << 20
)

// Deadlines longer than the slowest model takes, and the retries that can never pay twice.
//
//go:embed service_config.json
var serviceConfig string

// Client is a connection to one gateway. Many goroutines may use it at once.
type Client struct {
	// Images makes pictures; without previews and pictures put together, and without resumption.
	Images pictorv1.ImageServiceClient
	// History looks up, lists, rates, cancels and deletes what was made.
	History pictorv1.HistoryServiceClient
	// Usage answers what was spent, and keeps budgets.
	Usage pictorv1.UsageServiceClient
	// Catalog lists models, formats and providers.
	Catalog pictorv1.CatalogServiceClient

	connection *grpc.ClientConn
	onLost     func(*Error)
	delays     []time.Duration
}

type settings struct {
	key      string
	tls      *tls.Config
	metadata []string
	dial     []grpc.DialOption
	onLost   func(*Error)
	delays   []time.Duration
}

// Option changes how [Dial] connects.
type Option func(*settings)

// WithAPIKey sends a key as bearer token; without it, PICTOR_API_KEY is sent if it is set.
func WithAPIKey(key string) Option { return func(s *settings) { s.key = key } }

// WithTLS encrypts with a configuration of your own, e.g. with a client certificate; nil means the system's roots.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) {
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		s.tls = config
	}
}

// WithMetadata sends an entry with every call, e.g. `x-sandbox-*` for the simulated engines.
func WithMetadata(key, value string) Option {
	return func(s *settings) { s.metadata = append(s.metadata, key, value) }
}

// WithDialOptions adds gRPC's own options after ours.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.dial = append(s.dial, options...) }
}

// WithOnLost is told when a connection is lost and will be tried again; the first time, not of every try.
func WithOnLost(told func(*Error)) Option { return func(s *settings) { s.onLost = told } }

// Dial makes a client for `host:port`, or `https://host[:port]` for TLS; empty means PICTOR_ADDRESS, then
// `127.0.0.1:50051`. It does not connect yet: an address at which nothing answers is an error of the first call.
func Dial(address string, options ...Option) (*Client, error) {
	s := settings{onLost: func(*Error) {}, delays: reconnectDelays, key: os.Getenv("PICTOR_API_KEY")}
	for _, option := range options {
		option(&s)
	}
	host, encrypted, err := target(address)
	if err != nil {
		return nil, err
	}
	if s.key != "" {
		s.metadata = append([]string{"authorization", "Bearer " + s.key}, s.metadata...)
	}
	if err := checkMetadata(s.metadata); err != nil {
		return nil, err
	}
	transport := insecure.NewCredentials()
	switch {
	case s.tls != nil:
		transport = credentials.NewTLS(s.tls)
	case encrypted:
		transport = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(receiveBytes)),
		grpc.WithStatsHandler(noteSent{}),
		grpc.WithChainUnaryInterceptor(identifyUnary(s.metadata)),
		grpc.WithChainStreamInterceptor(identifyStream(s.metadata)),
	}, s.dial...)
	connection, err := grpc.NewClient(host, dial...)
	if err != nil {
		return nil, fmt.Errorf("the address `%s` cannot be used: %w", host, err)
	}
	return &Client{
		Images:     pictorv1.NewImageServiceClient(connection),
		History:    pictorv1.NewHistoryServiceClient(connection),
		Usage:      pictorv1.NewUsageServiceClient(connection),
		Catalog:    pictorv1.NewCatalogServiceClient(connection),
		connection: connection,
		onLost:     s.onLost,
		delays:     s.delays,
	}, nil
}

// Close ends the connection; calls under way are cancelled.
func (c *Client) Close() error { return c.connection.Close() }

var endsWithPort = regexp.MustCompile(`:\d+$`)

// target reads an address; gRPC would take port 443 in silence where none is named.
func target(address string) (host string, encrypted bool, err error) {
	for _, candidate := range []string{address, os.Getenv("PICTOR_ADDRESS"), defaultAddress} {
		if host = candidate; host != "" {
			break
		}
	}
	if rest, found := strings.CutPrefix(host, "https://"); found {
		host, encrypted = strings.TrimRight(rest, "/"), true
		if !endsWithPort.MatchString(host) {
			host += ":443"
		}
	} else if rest, found := strings.CutPrefix(host, "http://"); found {
		host = strings.TrimRight(rest, "/")
	}
	if !strings.Contains(host, "/") && !endsWithPort.MatchString(host) {
		return "", false, fmt.Errorf("an address is host:port; `%s` has no port", host)
	}
	return host, encrypted, nil
}

var (
	metadataKey   = regexp.MustCompile(`^[0-9a-z_.-]+$`)
	metadataValue = regexp.MustCompile(`^[ -~]*$`)
)

// checkMetadata refuses what gRPC would not send; the text holds no value, which may be a secret.
func checkMetadata(pairs []string) error {
	for i := 0; i < len(pairs); i += 2 {
		key, value := pairs[i], pairs[i+1]
		if !metadataKey.MatchString(key) {
			return fmt.Errorf("metadata `%s`: a key has lower-case letters, digits, `_`, `-` and `.` alone", key)
		}
		if !metadataValue.MatchString(value) {
			whence := ""
			if key == "authorization" {
				whence = "; look at PICTOR_API_KEY"
			}
			return fmt.Errorf("metadata `%s`: its value must be printable ASCII on one line%s", key, whence)
		}
	}
	return nil
}

// --- making pictures

// Wish is what is wanted of one call beside its request.
type wish struct {
	requestID      string
	maxInlineBytes *int64
	leaveOut       bool
	// Whether the gateway gives the call up, as far as it is not sent, when the connection is lost.
	withdrawn bool
}

// CallOption changes one call.
type CallOption func(*wish)

// WithoutFetch leaves out the bytes of pictures that are over the request's max_inline_bytes; unset, they are downloaded.
func WithoutFetch() CallOption { return func(w *wish) { w.leaveOut = true } }

// Generate draws new pictures and answers when all of them are done; every picture has its Data.
//
// A lost connection is no failure: the generation is followed, and its call is sent again only if the gateway itself
// says that it ended for nothing. Without a deadline in ctx the call may take as long as the slowest model.
func (c *Client) Generate(
	ctx context.Context, request *pictorv1.GenerateRequest, options ...CallOption,
) (*pictorv1.Generation, error) {
	request = withID(request)
	withoutPreviews(request)
	return c.join(ctx, wished(request, options), c.generateStream(request))
}

// Edit changes a given picture, as a whole or where the mask is transparent; otherwise as [Client.Generate].
func (c *Client) Edit(
	ctx context.Context, edit *pictorv1.EditRequest, options ...CallOption,
) (*pictorv1.Generation, error) {
	edit = editWithID(edit)
	withoutPreviews(edit.Request)
	return c.join(ctx, wished(edit.Request, options), c.editStream(edit))
}

// Stream draws new pictures and tells what happens on the way; [Completed] comes last.
//
// Previews and pictures come whole and verified. A lost connection is taken up again once the generation is accepted. An
// error ends the sequence. Leaving the loop early is a client that goes away: what was sent finishes and is stored.
func (c *Client) Stream(
	ctx context.Context, request *pictorv1.GenerateRequest, options ...CallOption,
) iter.Seq2[Event, error] {
	request = withID(request)
	return c.events(ctx, &assembler{}, wished(request, options), c.generateStream(request))
}

// StreamEdit changes a given picture and tells what happens on the way, like [Client.Stream].
func (c *Client) StreamEdit(
	ctx context.Context, edit *pictorv1.EditRequest, options ...CallOption,
) iter.Seq2[Event, error] {
	edit = editWithID(edit)
	return c.events(ctx, &assembler{}, wished(edit.Request, options), c.editStream(edit))
}

// Reroll draws an earlier request again, on the other engine unless a model is named; otherwise as [Client.Generate].
func (c *Client) Reroll(
	ctx context.Context, request *pictorv1.RerollRequest, options ...CallOption,
) (*pictorv1.Generation, error) {
	request = rerollWithID(request)
	if request.PreviewCount == nil {
		request.PreviewCount = proto.Int32(0)
	}
	return c.join(ctx, rerollWished(request, options), c.rerollStream(request))
}

// StreamReroll draws an earlier request again and tells what happens on the way, like [Client.Stream].
func (c *Client) StreamReroll(
	ctx context.Context, request *pictorv1.RerollRequest, options ...CallOption,
) iter.Seq2[Event, error] {
	request = rerollWithID(request)
	return c.events(ctx, &assembler{}, rerollWished(request, options), c.rerollStream(request))
}

// Watch follows a generation from the beginning (0), or from after an event that was seen; survives lost connections.
func (c *Client) Watch(
	ctx context.Context, generationID string, afterSequence int64, options ...CallOption,
) iter.Seq2[Event, error] {
	w := wish{}
	for _, option := range options {
		option(&w)
	}
	a := &assembler{generationID: generationID, last: afterSequence}
	return c.events(ctx, a, w, c.watch(a, nil))
}

func (c *Client) generateStream(request *pictorv1.GenerateRequest) start {
	return func(ctx context.Context) (source, error) {
		return unwrapped(opened(c.Images.GenerateStream(ctx, &pictorv1.GenerateStreamRequest{Request: request})))
	}
}

func (c *Client) editStream(edit *pictorv1.EditRequest) start {
	return func(ctx context.Context) (source, error) {
		return unwrapped(opened(c.Images.EditStream(ctx, &pictorv1.EditStreamRequest{Request: edit})))
	}
}

func (c *Client) rerollStream(request *pictorv1.RerollRequest) start {
	return func(ctx context.Context) (source, error) { return opened(c.Images.Reroll(ctx, request)) }
}

func rerollWithID(request *pictorv1.RerollRequest) *pictorv1.RerollRequest {
	named := proto.CloneOf(request)
	if named.RequestId == "" {
		named.RequestId = newID()
	}
	return named
}

func rerollWished(request *pictorv1.RerollRequest, options []CallOption) wish {
	same := pictorv1.GenerateRequest{
		RequestId: request.RequestId, MaxInlineBytes: request.MaxInlineBytes, OnDisconnect: request.OnDisconnect,
	}
	return wished(&same, options)
}

func wished(request *pictorv1.GenerateRequest, options []CallOption) wish {
	w := wish{
		requestID:      request.RequestId,
		maxInlineBytes: request.MaxInlineBytes,
		withdrawn:      request.OnDisconnect != pictorv1.OnDisconnect_ON_DISCONNECT_FINISH,
	}
	for _, option := range options {
		option(&w)
	}
	return w
}

// withID copies: a request that kept its id would replay, not draw, when its maker uses it for a second call.
func withID(request *pictorv1.GenerateRequest) *pictorv1.GenerateRequest {
	named := &pictorv1.GenerateRequest{}
	if request != nil {
		named = proto.CloneOf(request)
	}
	if named.RequestId == "" {
		named.RequestId = newID()
	}
	return named
}

func editWithID(edit *pictorv1.EditRequest) *pictorv1.EditRequest {
	return &pictorv1.EditRequest{Request: withID(edit.GetRequest()), Image: edit.GetImage(), Mask: edit.GetMask()}
}

// withoutPreviews says what an unset count means on unary calls: previews are priced, and nobody would see them.
func withoutPreviews(request *pictorv1.GenerateRequest) {
	if request.PreviewCount == nil {
		request.PreviewCount = proto.Int32(0)
	}
}

// newID is a UUID of version 4.
func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// --- what was made

// List goes through all generations that match, newest first, page after page.
func (c *Client) List(
	ctx context.Context, filter *pictorv1.ListGenerationsRequest,
) iter.Seq2[*pictorv1.Generation, error] {
	return func(yield func(*pictorv1.Generation, error) bool) {
		request := &pictorv1.ListGenerationsRequest{}
		if filter != nil {
			request = proto.CloneOf(filter)
		}
		for {
			page, err := c.History.ListGenerations(ctx, request)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, generation := range page.Generations {
				if !yield(generation, nil) {
					return
				}
			}
			if request.PageToken = page.NextPageToken; request.PageToken == "" {
				return
			}
		}
	}
}

// --- the contract's messages, made shorter

// ImageData is a picture as input, from its encoded bytes.
func ImageData(data []byte) *pictorv1.ImageInput {
	return &pictorv1.ImageInput{Source: &pictorv1.ImageInput_Data{Data: data}}
}

// ImageID is a picture as input that was made or uploaded here.
func ImageID(id string) *pictorv1.ImageInput {
	return &pictorv1.ImageInput{Source: &pictorv1.ImageInput_ImageId{ImageId: id}}
}

// Ratio is a shape such as `16:9`.
func Ratio(ratio string) *pictorv1.Canvas {
	return &pictorv1.Canvas{Shape: &pictorv1.Canvas_Ratio{Ratio: ratio}}
}

// Format is a shape by the name of a format, such as `instagram/story`.
func Format(name string) *pictorv1.Canvas {
	return &pictorv1.Canvas{Shape: &pictorv1.Canvas_Format{Format: name}}
}

// Cents is an amount of US dollars, for max_cost.
func Cents(cents int64) *pictorv1.Money {
	return &pictorv1.Money{CurrencyCode: "USD", Units: cents / 100, Nanos: int32(cents%100) * 10_000_000}
}

// USD is an amount as decimal dollars, exact, e.g. `0.0683`.
func USD(amount *pictorv1.Money) string {
	nanos := new(big.Int).Mul(big.NewInt(amount.GetUnits()), big.NewInt(1_000_000_000))
	nanos.Add(nanos, big.NewInt(int64(amount.GetNanos())))
	text := new(big.Rat).SetFrac(nanos, big.NewInt(1_000_000_000)).FloatString(9)
	whole := strings.Index(text, ".") + len(".00")
	return text[:whole] + strings.TrimRight(text[whole:], "0")
}

// Images are the pictures that a generation has, in order of its outputs.
func Images(generation *pictorv1.Generation) []*pictorv1.Image {
	var images []*pictorv1.Image
	for _, output := range generation.GetOutputs() {
		if output.Image != nil {
			images = append(images, output.Image)
		}
	}
	return images
}
