package pictor

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pictorv1 "pictor.dev/gen/pictor/v1"
)

// receiving answers a stream's next message, and io.EOF after the last.
type receiving[Message any] func() (Message, error)

// opening opens a stream that ctx ends.
type opening[Message any] func(ctx context.Context) (receiving[Message], error)

// source and start are those of one generation.
type (
	source = receiving[*pictorv1.GenerationEvent]
	start  = opening[*pictorv1.GenerationEvent]
)

// receive is one connection: it hands what arrives to take until that is done, or else answers what the connection, or a
// message that take could not use, ended with.
func receive[Message any](
	ctx context.Context, open opening[Message], take func(Message) (bool, error),
) (bool, error) {
	connected, cancel := context.WithCancel(ctx)
	defer cancel()
	next, err := open(connected)
	for err == nil {
		var message Message
		if message, err = next(); err != nil {
			break
		}
		var done bool
		if done, err = take(message); done {
			return true, err
		}
	}
	if errors.Is(err, io.EOF) {
		err = &Error{Code: codes.Unavailable, Reason: Unreachable, Message: "the stream ended early"}
	}
	return false, err
}

// opened makes the streams of GenerateStream, EditStream, Reroll and WatchGeneration alike.
func opened[Stream interface{ Recv() (Answer, error) }, Answer interface {
	GetEvent() *pictorv1.GenerationEvent
}](stream Stream, err error) (source, error) {
	if err != nil {
		return nil, err
	}
	return func() (*pictorv1.GenerationEvent, error) {
		answer, err := stream.Recv()
		return answer.GetEvent(), err
	}, nil
}

// unwrapped names wrong fields as the caller's own message has them: the stream's request only wraps that.
func unwrapped(next source, err error) (source, error) {
	if err != nil {
		return nil, err
	}
	return func() (*pictorv1.GenerationEvent, error) {
		event, err := next()
		if ours := asError(err); ours != nil && len(ours.Violations) > 0 {
			return nil, ours.within("request.")
		}
		return event, err
	}, nil
}

// watch opens a stream from where the assembler needs it.
func (c *Client) watch(a *assembler, maxInlineBytes *int64) start {
	return func(ctx context.Context) (source, error) {
		return opened(c.History.WatchGeneration(ctx, &pictorv1.WatchGenerationRequest{
			GenerationId:   a.generationID,
			AfterSequence:  a.resumeAfter(),
			MaxInlineBytes: maxInlineBytes,
		}))
	}
}

// events is a generation's stream as a sequence. Going through it again asks for the same request_id, so it pays nothing.
func (c *Client) events(ctx context.Context, a *assembler, w wish, first start) iter.Seq2[Event, error] {
	initial := *a
	return func(yield func(Event, error) bool) {
		*a = initial
		err := c.follow(ctx, a, w, c.journey(w.requestID), first, func(event Event) bool { return yield(event, nil) })
		if err != nil {
			yield(nil, err)
		}
	}
}

// join asks for a generation and waits for it, over as many connections and, if one ended for nothing, calls as it takes.
func (c *Client) join(ctx context.Context, w wish, first start) (*pictorv1.Generation, error) {
	j := c.journey(w.requestID)
	for {
		made, err := c.collect(ctx, w, j, first)
		if err == nil {
			return made, nil
		}
		if err := j.sendAgain(ctx, err, w.withdrawn); err != nil {
			return nil, err
		}
	}
}

// collect is what a unary call would have answered, out of the events of a stream.
func (c *Client) collect(ctx context.Context, w wish, j *journey, first start) (*pictorv1.Generation, error) {
	var made *pictorv1.Generation
	data := map[string][]byte{}
	err := c.follow(ctx, &assembler{}, w, j, first, func(event Event) bool {
		switch event := event.(type) {
		case Image:
			data[event.Picture.GetId()] = event.Picture.GetData()
		case Completed:
			made = proto.CloneOf(event.Generation)
		}
		return true
	})
	for _, image := range Images(made) {
		image.Data = data[image.GetId()]
	}
	return made, err
}

// follow reads a generation's stream to its end, over as many connections as it takes, or until emit wants no more.
func (c *Client) follow(
	ctx context.Context, a *assembler, w wish, j *journey, open start, emit func(Event) bool,
) error {
	for {
		done, err := receive(ctx, open, func(message *pictorv1.GenerationEvent) (bool, error) {
			j.progress()
			events, err := a.feed(message)
			for _, event := range events {
				if event, err = c.withBytes(ctx, event, w); err != nil || !emit(event) {
					return true, err
				}
			}
			return false, err
		})
		if done {
			return err
		}
		if a.completed {
			return nil
		}
		if a.generationID, err = j.goOn(ctx, err, a.generationID); err != nil {
			return err
		}
		a.interrupt()
		open = c.watch(a, w.maxInlineBytes)
	}
}

// withBytes is the same event; a picture whose bytes did not come with the stream is fetched.
func (c *Client) withBytes(ctx context.Context, event Event, w wish) (Event, error) {
	image, isImage := event.(Image)
	if !isImage || image.Picture.Data != nil || w.leaveOut {
		return event, nil
	}
	fetched, err := c.Fetch(ctx, image.Picture.GetId())
	return Image{image.entry, fetched}, err
}
