package pictor_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pictorv1 "pictor.dev/gen/pictor/v1"
	"pictor.dev/pictor"
)

var (
	somePreview = bytes.Repeat([]byte("p"), 2500)
	somePicture = bytes.Repeat([]byte("0123456789"), 500)
)

type (
	drawing     = grpc.ServerStreamingServer[pictorv1.GenerateStreamResponse]
	drawingSet  = grpc.ServerStreamingServer[pictorv1.GenerateSetResponse]
	watching    = grpc.ServerStreamingServer[pictorv1.WatchGenerationResponse]
	downloading = grpc.ServerStreamingServer[pictorv1.DownloadImageResponse]
)

// canned is a gateway of canned answers on a real connection; it keeps what was asked.
type canned struct {
	pictorv1.UnimplementedImageServiceServer
	pictorv1.UnimplementedHistoryServiceServer

	draw     func(n int, stream drawing) error
	set      func(n int, request *pictorv1.GenerateSetRequest, stream drawingSet) error
	watch    func(n int, request *pictorv1.WatchGenerationRequest, stream watching) error
	find     func() (*pictorv1.GetGenerationResponse, error)
	list     func(n int) []*pictorv1.Generation
	more     []*pictorv1.Generation // a second page
	download func(n int, request *pictorv1.DownloadImageRequest, stream downloading) error

	mutex   sync.Mutex
	asked   []string
	server  *grpc.Server
	address string
}

func (c *canned) count(rpc string) int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.asked = append(c.asked, rpc)
	n := 0
	for _, each := range c.asked {
		if each == rpc {
			n++
		}
	}
	return n
}

func (c *canned) GenerateStream(r *pictorv1.GenerateStreamRequest, s drawing) error {
	return c.draw(c.count("draw "+r.Request.RequestId), s)
}

func (c *canned) GenerateSet(r *pictorv1.GenerateSetRequest, s drawingSet) error {
	return c.set(c.count("set "+r.Brief.RequestId), r, s)
}

func (c *canned) WatchGeneration(r *pictorv1.WatchGenerationRequest, s watching) error {
	return c.watch(c.count("watch "+r.GenerationId), r, s)
}

func (c *canned) GetGeneration(_ context.Context, r *pictorv1.GetGenerationRequest) (*pictorv1.GetGenerationResponse, error) {
	c.count("find " + r.GetRequestId())
	return c.find()
}

func (c *canned) ListGenerations(
	_ context.Context, r *pictorv1.ListGenerationsRequest,
) (*pictorv1.ListGenerationsResponse, error) {
	if r.PageToken != "" {
		c.count("list " + r.PageToken)
		return &pictorv1.ListGenerationsResponse{Generations: c.more}, nil
	}
	answer := &pictorv1.ListGenerationsResponse{Generations: c.list(c.count("list " + r.SetId))}
	if c.more != nil {
		answer.NextPageToken = "more"
	}
	return answer, nil
}

func (c *canned) DownloadImage(r *pictorv1.DownloadImageRequest, s downloading) error {
	return c.download(c.count("download"), r, s)
}

func (c *canned) UploadImage(s grpc.ClientStreamingServer[pictorv1.UploadImageRequest, pictorv1.UploadImageResponse]) error {
	c.count("upload")
	return status.Error(codes.Unimplemented, "no canned answer")
}

// start serves it, and answers a client that does not wait long.
func (c *canned) start(t *testing.T) *pictor.Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c.address = listener.Addr().String()
	c.server = grpc.NewServer()
	pictorv1.RegisterImageServiceServer(c.server, c)
	pictorv1.RegisterHistoryServiceServer(c.server, c)
	go c.server.Serve(listener)
	t.Cleanup(c.server.Stop)
	return connect(t, c.address, pictor.WithDelays(time.Millisecond, time.Millisecond))
}

// --- streams

func TestALostConnectionLosesNothingWhereverItBreaks(t *testing.T) {
	log := wholeLog()
	for cut := 1; cut < len(log); cut++ {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			gateway := &canned{
				draw: func(_ int, s drawing) error {
					sendDrawn(s, log[:cut])
					return lost()
				},
				watch: func(_ int, r *pictorv1.WatchGenerationRequest, s watching) error {
					return sendWatched(s, after(log, r.AfterSequence))
				},
			}

			var sequences []int64
			for event, err := range gateway.start(t).Stream(ctx(t), named("mine")) {
				must(t, err)
				sequences = append(sequences, event.Sequence())
				switch event := event.(type) {
				case pictor.Preview:
					if !bytes.Equal(event.Data, somePreview) {
						t.Errorf("a preview of %d bytes", len(event.Data))
					}
				case pictor.Image:
					if !bytes.Equal(event.Picture.Data, somePicture) {
						t.Errorf("a picture of %d bytes", len(event.Picture.Data))
					}
				}
			}

			if !slices.Equal(sequences, []int64{1, 2, 3, 5, 4, 6}) || !slices.Equal(gateway.asked, []string{"draw mine", "watch gen_1"}) {
				t.Errorf("got %v after %v", sequences, gateway.asked)
			}
		})
	}
}

func TestALogThatIsGoneStillBringsThePictures(t *testing.T) {
	log := wholeLog()
	gateway := &canned{
		draw: func(_ int, s drawing) error {
			sendDrawn(s, log[:2])
			return lost()
		},
		watch: func(_ int, _ *pictorv1.WatchGenerationRequest, s watching) error {
			return sendWatched(s, log[len(log)-1:])
		},
		download: wholeDownload,
	}

	made, err := gateway.start(t).Generate(ctx(t), named("mine"))

	must(t, err)
	if !bytes.Equal(pictor.Images(made)[0].Data, somePicture) {
		t.Errorf("got %v", made)
	}
}

func TestACallLostBeforeItsIDCameIsFoundByItsRequestID(t *testing.T) {
	gateway := &canned{
		draw: lostForGood,
		find: func() (*pictorv1.GetGenerationResponse, error) {
			return &pictorv1.GetGenerationResponse{Generation: &pictorv1.Generation{Id: "gen_1"}}, nil
		},
		watch: func(_ int, r *pictorv1.WatchGenerationRequest, s watching) error {
			return sendWatched(s, after(wholeLog(), r.AfterSequence))
		},
	}

	made, err := gateway.start(t).Generate(ctx(t), named("mine"))

	must(t, err)
	if !bytes.Equal(pictor.Images(made)[0].Data, somePicture) || !slices.Equal(gateway.asked, []string{"draw mine", "find mine", "watch gen_1"}) {
		t.Errorf("asked %v", gateway.asked)
	}
}

func TestACallThatNobodyKnowsIsNotSentAgain(t *testing.T) {
	gateway := &canned{draw: lostForGood, find: func() (*pictorv1.GetGenerationResponse, error) {
		return nil, refused(codes.NotFound, "NOT_FOUND", nil)
	}}

	_, err := gateway.start(t).Generate(ctx(t), named("mine"))

	unknown := told(t, err, codes.Unavailable, pictor.Unreachable)
	if !unknown.Paid || unknown.RequestID != "mine" || !slices.Equal(gateway.asked, []string{"draw mine", "find mine"}) ||
		!strings.HasSuffix(unknown.Message, "; it is unknown whether the call was accepted: look for its request_id mine") {
		t.Errorf("got %+v after %v", unknown, gateway.asked)
	}
}

func TestAGenerationThatTheGatewayForgotIsNotPaidAgain(t *testing.T) {
	gateway := &canned{draw: acceptedThenLost, watch: func(int, *pictorv1.WatchGenerationRequest, watching) error {
		return refused(codes.NotFound, "NOT_FOUND", nil)
	}}

	_, err := gateway.start(t).Generate(ctx(t), named("mine"))

	forgotten := told(t, err, codes.Unavailable, pictor.Unreachable)
	if !forgotten.Paid || forgotten.GenerationID != "gen_1" || !slices.Equal(gateway.asked, []string{"draw mine", "watch gen_1"}) ||
		forgotten.Message != "the connection was lost, and the gateway that answers now does not know generation gen_1 "+
			"(another data folder?), so it is unknown whether it was made" {
		t.Errorf("got %+v after %v", forgotten, gateway.asked)
	}
}

func TestOnlyALostCallThatEndedForNothingIsSentAgain(t *testing.T) {
	free := map[string]string{"generation_id": "gen_1"}
	paid := map[string]string{"generation_id": "gen_1", "paid": "true"}
	for name, c := range map[string]struct {
		code     codes.Code
		reason   string
		metadata map[string]string
		finish   pictorv1.OnDisconnect
		again    bool
	}{
		"we seemed gone":       {codes.Canceled, "CANCELLED", free, 0, true},
		"its server went":      {codes.Unavailable, "SHUTTING_DOWN", free, 0, true},
		"cancelled and paid":   {codes.Canceled, "CANCELLED", paid, 0, false},
		"somebody's wish":      {codes.Canceled, "CANCELLED", free, pictorv1.OnDisconnect_ON_DISCONNECT_FINISH, false},
		"given up and paid":    {codes.Unavailable, "SHUTTING_DOWN", paid, 0, false},
		"refused by an engine": {codes.FailedPrecondition, "CONTENT_POLICY", free, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			gateway := &canned{
				draw: func(n int, s drawing) error {
					if n == 1 {
						return acceptedThenLost(n, s)
					}
					return sendDrawn(s, wholeLog())
				},
				watch: func(_ int, _ *pictorv1.WatchGenerationRequest, s watching) error {
					s.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", "-1"))
					return refused(c.code, c.reason, c.metadata)
				},
			}
			request := named("mine")
			request.OnDisconnect = c.finish

			_, err := gateway.start(t).Generate(ctx(t), request)

			want := []string{"draw mine", "watch gen_1"}
			if c.again {
				must(t, err)
				want = append(want, "draw mine")
			} else {
				told(t, err, c.code, c.reason)
			}
			if !slices.Equal(gateway.asked, want) {
				t.Errorf("asked %v", gateway.asked)
			}
		})
	}
}

func TestAGatewayThatStaysAwayIsGivenUp(t *testing.T) {
	gateway := &canned{draw: acceptedThenLost, watch: func(int, *pictorv1.WatchGenerationRequest, watching) error {
		return lost()
	}}

	_, err := gateway.start(t).Generate(ctx(t), named("mine"))

	away := told(t, err, codes.Unavailable, pictor.Unreachable)
	if !away.Paid || away.GenerationID != "gen_1" || gateway.count("draw mine") != 2 {
		t.Errorf("got %+v after %v", away, gateway.asked)
	}
}

func TestADeadlineThatPassesNamesTheGeneration(t *testing.T) {
	gateway := &canned{draw: func(_ int, s drawing) error {
		s.SendHeader(metadata.Pairs("pictor-generation-id", "gen_1"))
		<-s.Context().Done()
		return s.Context().Err()
	}}
	short, cancel := context.WithTimeout(ctx(t), 200*time.Millisecond)
	defer cancel()

	_, err := gateway.start(t).Generate(short, named("mine"))

	late := told(t, err, codes.DeadlineExceeded, "DEADLINE_EXCEEDED")
	if !errors.Is(err, context.DeadlineExceeded) || late.GenerationID != "gen_1" || late.Message != "no answer within 0.2 s" {
		t.Errorf("got %+v", late)
	}
}

func TestACallIsNotWaitedForAfterItWasCancelled(t *testing.T) {
	gateway := &canned{draw: acceptedThenLost}
	gateway.start(t)
	cancelled, cancel := context.WithCancel(ctx(t))
	defer cancel()
	patient := connect(t, gateway.address, pictor.WithDelays(time.Hour), pictor.WithOnLost(func(*pictor.Error) { cancel() }))

	_, err := patient.Generate(cancelled, named("mine"))

	if ended := told(t, err, codes.Canceled, "CANCELLED"); !errors.Is(err, context.Canceled) || ended.GenerationID != "gen_1" {
		t.Errorf("got %+v", ended)
	}
}

func TestAnErrorCarriesEverythingThatTheGatewaySaid(t *testing.T) {
	gateway := &canned{draw: func(_ int, s drawing) error {
		s.SetTrailer(metadata.Pairs("pictor-generation-id", "gen_9", "grpc-retry-pushback-ms", "-1"))
		said, err := status.New(codes.Aborted, "both engines failed").WithDetails(
			&errdetails.ErrorInfo{Reason: "PROVIDER_FAILED", Domain: "pictor", Metadata: map[string]string{"attempts": "2", "paid": "true"}},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "request.prompt", Description: "too red"}}},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
		)
		must(t, err)
		return said.Err()
	}}

	_, err := gateway.start(t).Generate(ctx(t), named("mine"))

	all := told(t, err, codes.Aborted, "PROVIDER_FAILED")
	if all.Message != "both engines failed" || all.Metadata["attempts"] != "2" || !all.Paid || all.GenerationID != "gen_9" ||
		all.RetryAfter != 1500*time.Millisecond || !slices.Equal(all.Violations, []pictor.Violation{{Field: "prompt", Text: "too red"}}) {
		t.Errorf("got %+v", all)
	}
}

// --- bytes

func TestAPictureWithAnotherHashIsRefused(t *testing.T) {
	log := wholeLog()
	last := log[len(log)-2].GetImageChunk()
	last.Data = bytes.Repeat([]byte("x"), len(last.Data))
	gateway := &canned{
		draw: func(_ int, s drawing) error {
			return sendDrawn(s, log)
		},
		download: func(_ int, _ *pictorv1.DownloadImageRequest, s downloading) error {
			s.Send(header(describe(somePicture)))
			return s.Send(chunk(0, bytes.Repeat([]byte("x"), len(somePicture))))
		},
	}
	client := gateway.start(t)

	_, streamed := client.Generate(ctx(t), named("mine"))
	_, fetched := client.Fetch(ctx(t), "img_1")

	for _, err := range []error{streamed, fetched} {
		if damaged := told(t, err, codes.DataLoss, "DATA_LOSS"); !strings.Contains(damaged.Message, "arrived damaged") {
			t.Errorf("got %v", damaged)
		}
	}
}

func TestADownloadAsksOnlyForTheRest(t *testing.T) {
	var offsets []int64
	gateway := &canned{download: func(n int, r *pictorv1.DownloadImageRequest, s downloading) error {
		offsets = append(offsets, r.OffsetBytes)
		s.Send(header(describe(somePicture)))
		end := min(r.OffsetBytes+1500, int64(len(somePicture)))
		s.Send(chunk(r.OffsetBytes, somePicture[r.OffsetBytes:end]))
		return lost()
	}}

	got, err := gateway.start(t).Fetch(ctx(t), "img_1")

	must(t, err)
	if !bytes.Equal(got.Data, somePicture) || !slices.Equal(offsets, []int64{0, 1500, 3000, 4500}) {
		t.Errorf("%d bytes after %v", len(got.Data), offsets)
	}
}

func TestAPictureOverTheLimitIsNotSent(t *testing.T) {
	gateway := &canned{}

	_, err := gateway.start(t).Upload(ctx(t), bytes.NewReader(make([]byte, pictor.MaxUploadBytes+1)))

	told(t, err, codes.InvalidArgument, "IMAGE_TOO_LARGE")
	if len(gateway.asked) > 0 {
		t.Errorf("asked %v", gateway.asked)
	}
}

// --- canned answers

func named(requestID string) *pictorv1.GenerateRequest {
	return &pictorv1.GenerateRequest{Prompt: "a red fox", RequestId: requestID}
}

func describe(data []byte) *pictorv1.Image {
	return &pictorv1.Image{
		Id: "img_1", MimeType: "image/png", SizeBytes: int64(len(data)), Sha256: fmt.Sprintf("%x", sha256.Sum256(data)),
	}
}

// wholeLog is accepted, attempt_started, a preview and a picture in chunks of 1,000 bytes with
// another entry between them, and completed.
func wholeLog() []*pictorv1.GenerationEvent {
	log := []*pictorv1.GenerationEvent{
		{Sequence: 1, Event: &pictorv1.GenerationEvent_Accepted{Accepted: &pictorv1.Accepted{GenerationId: "gen_1"}}},
		{Sequence: 2, Event: &pictorv1.GenerationEvent_AttemptStarted{AttemptStarted: &pictorv1.AttemptStarted{Model: "gpt-image-2"}}},
		{Sequence: 3, Event: &pictorv1.GenerationEvent_Preview{Preview: &pictorv1.Preview{SizeBytes: int64(len(somePreview))}}},
	}
	for at := 0; at < len(somePreview); at += 1000 {
		part := somePreview[at:min(at+1000, len(somePreview))]
		log = append(log, &pictorv1.GenerationEvent{Sequence: 3, Event: &pictorv1.GenerationEvent_PreviewChunk{
			PreviewChunk: &pictorv1.PreviewChunk{OffsetBytes: int64(at), Data: part, Last: at+1000 >= len(somePreview)},
		}})
	}
	log = append(log, &pictorv1.GenerationEvent{Sequence: 4, Event: &pictorv1.GenerationEvent_Image{
		Image: &pictorv1.ImageReady{Image: describe(somePicture), ChunksFollow: true},
	}})
	sequence := int64(4)
	for at := 0; at < len(somePicture); at += 1000 {
		if at == 2000 { // something else happens while the picture's bytes are coming
			sequence = 5
			other := &pictorv1.GenerationEvent_Queued{Queued: &pictorv1.Queued{OutputIndex: 1}}
			log = append(log, &pictorv1.GenerationEvent{Sequence: sequence, Event: other})
		}
		part := somePicture[at:min(at+1000, len(somePicture))]
		log = append(log, &pictorv1.GenerationEvent{Sequence: sequence, Event: &pictorv1.GenerationEvent_ImageChunk{
			ImageChunk: &pictorv1.ImageChunk{ImageId: "img_1", OffsetBytes: int64(at), Data: part, Last: at+1000 >= len(somePicture)},
		}})
	}
	made := &pictorv1.Generation{Id: "gen_1", Outputs: []*pictorv1.Output{{Image: describe(somePicture)}}}
	return append(log, &pictorv1.GenerationEvent{Sequence: 6, Event: &pictorv1.GenerationEvent_Completed{
		Completed: &pictorv1.Completed{Generation: made},
	}})
}

func after(log []*pictorv1.GenerationEvent, sequence int64) []*pictorv1.GenerationEvent {
	return slices.DeleteFunc(slices.Clone(log), func(e *pictorv1.GenerationEvent) bool { return e.Sequence <= sequence })
}

func sendDrawn(s drawing, log []*pictorv1.GenerationEvent) error {
	for _, event := range log {
		if err := s.Send(&pictorv1.GenerateStreamResponse{Event: event}); err != nil {
			return err
		}
	}
	return nil
}

func sendWatched(s watching, log []*pictorv1.GenerationEvent) error {
	for _, event := range log {
		if err := s.Send(&pictorv1.WatchGenerationResponse{Event: event}); err != nil {
			return err
		}
	}
	return nil
}

func header(image *pictorv1.Image) *pictorv1.DownloadImageResponse {
	return &pictorv1.DownloadImageResponse{Part: &pictorv1.DownloadImageResponse_Image{Image: image}}
}

func chunk(offset int64, data []byte) *pictorv1.DownloadImageResponse {
	part := &pictorv1.ImageChunk{ImageId: "img_1", OffsetBytes: offset, Data: data}
	return &pictorv1.DownloadImageResponse{Part: &pictorv1.DownloadImageResponse_Chunk{Chunk: part}}
}

func wholeDownload(_ int, _ *pictorv1.DownloadImageRequest, s downloading) error {
	s.Send(header(describe(somePicture)))
	return s.Send(chunk(0, somePicture))
}

// lost is how a broken connection looks.
func lost() error { return status.Error(codes.Unavailable, "error reading from server: EOF") }

// lostForGood breaks before anything came back; gRPC's own retries stay out of the way.
func lostForGood(_ int, s drawing) error {
	s.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", "-1"))
	return lost()
}

func acceptedThenLost(_ int, s drawing) error {
	s.SendHeader(metadata.Pairs("pictor-generation-id", "gen_1"))
	return lost()
}

func refused(code codes.Code, reason string, entries map[string]string) error {
	said, err := status.New(code, "the end").WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "pictor", Metadata: entries})
	if err != nil {
		return err
	}
	return said.Err()
}
