package pictor

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pictorv1 "pictor.dev/gen/pictor/v1"
)

// assembler turns the messages of one generation's stream into events with whole pictures.
//
// The gateway sends a log (accepted to completed, numbered from 1 without gaps) and, between its entries, transport
// messages with the bytes of previews and pictures. A preview or picture is held back until its last chunk is there. After
// a broken connection resumeAfter says where to go on: before the oldest entry whose bytes were still coming. Entries that
// come again are dropped, so a reader sees each event once whatever the network did.
//
// The log ends some minutes after the generation; who comes later gets completed alone. Its pictures then come as events
// made from the generation, without bytes: the client fetches them one by one.
type assembler struct {
	generationID string
	completed    bool
	last         int64
	preview      *unfinished
	images       map[string]*unfinished
	again        map[int64]bool
	delivered    map[string]bool
}

// unfinished is a preview or picture whose bytes are still coming.
type unfinished struct {
	event *pictorv1.GenerationEvent
	data  []byte
}

func (u *unfinished) add(offset int64, data []byte) error {
	if offset != int64(len(u.data)) {
		return damaged("bytes %d to %d of a picture are missing from the stream", len(u.data), offset)
	}
	u.data = append(u.data, data...)
	return nil
}

// resumeAfter is the sequence after which the log must be sent again, once interrupt was told.
func (a *assembler) resumeAfter() int64 {
	first := a.last + 1
	for sequence := range a.again {
		first = min(first, sequence)
	}
	return first - 1
}

// interrupt says that the connection broke: half pictures are forgotten, and their entries taken again.
func (a *assembler) interrupt() {
	if a.again == nil {
		a.again = map[int64]bool{}
	}
	if a.preview != nil {
		a.again[a.preview.event.Sequence] = true
	}
	for _, image := range a.images {
		a.again[image.event.Sequence] = true
	}
	a.preview, a.images = nil, nil
}

// feed takes one message and answers the events that are whole with it; its error is DATA_LOSS.
func (a *assembler) feed(message *pictorv1.GenerationEvent) ([]Event, error) {
	switch event := message.GetEvent().(type) {
	case *pictorv1.GenerationEvent_PreviewChunk:
		return a.previewChunk(event.PreviewChunk)
	case *pictorv1.GenerationEvent_ImageChunk:
		return a.imageChunk(event.ImageChunk)
	case *pictorv1.GenerationEvent_Heartbeat:
		return nil, nil
	case *pictorv1.GenerationEvent_Completed:
		return a.end(message, event.Completed.GetGeneration()), nil
	}
	if !a.isNews(message.GetSequence()) {
		return nil, nil
	}
	return a.entry(message)
}

func (a *assembler) isNews(sequence int64) bool {
	news := sequence > a.last || a.again[sequence]
	delete(a.again, sequence)
	a.last = max(a.last, sequence)
	return news
}

func (a *assembler) entry(message *pictorv1.GenerationEvent) ([]Event, error) {
	at := entry{message}
	switch event := message.Event.(type) {
	case *pictorv1.GenerationEvent_Accepted:
		a.generationID = event.Accepted.GetGenerationId()
		return []Event{Accepted{at, event.Accepted}}, nil
	case *pictorv1.GenerationEvent_Queued:
		return []Event{Queued{at, event.Queued}}, nil
	case *pictorv1.GenerationEvent_AttemptStarted:
		return []Event{AttemptStarted{at, event.AttemptStarted}}, nil
	case *pictorv1.GenerationEvent_AttemptFailed:
		return []Event{AttemptFailed{at, event.AttemptFailed}}, nil
	case *pictorv1.GenerationEvent_Preview:
		if event.Preview.GetOmitted() {
			return []Event{Preview{at, event.Preview, nil}}, nil
		}
		a.preview = &unfinished{event: message}
	case *pictorv1.GenerationEvent_Image:
		if !event.Image.GetChunksFollow() {
			return a.picture(message, event.Image.GetImage(), nil)
		}
		if a.images == nil {
			a.images = map[string]*unfinished{}
		}
		a.images[event.Image.GetImage().GetId()] = &unfinished{event: message}
	}
	return nil, nil
}

func (a *assembler) previewChunk(chunk *pictorv1.PreviewChunk) ([]Event, error) {
	if a.preview == nil {
		return nil, nil // of an entry that was seen before
	}
	if err := a.preview.add(chunk.GetOffsetBytes(), chunk.GetData()); err != nil || !chunk.GetLast() {
		return nil, err
	}
	whole := a.preview
	a.preview = nil
	return []Event{Preview{entry{whole.event}, whole.event.GetPreview(), whole.data}}, nil
}

func (a *assembler) imageChunk(chunk *pictorv1.ImageChunk) ([]Event, error) {
	whole := a.images[chunk.GetImageId()]
	if whole == nil {
		return nil, nil
	}
	if err := whole.add(chunk.GetOffsetBytes(), chunk.GetData()); err != nil || !chunk.GetLast() {
		return nil, err
	}
	delete(a.images, chunk.GetImageId())
	return a.picture(whole.event, whole.event.GetImage().GetImage(), whole.data)
}

func (a *assembler) picture(message *pictorv1.GenerationEvent, image *pictorv1.Image, data []byte) ([]Event, error) {
	if data != nil {
		sum := sha256.Sum256(data)
		if err := check(image, int64(len(data)), sum[:]); err != nil {
			return nil, err
		}
		image = proto.CloneOf(image)
		image.Data = data
	}
	a.deliver(image.GetId())
	return []Event{Image{entry{message}, image}}, nil
}

func (a *assembler) deliver(id string) {
	if a.delivered == nil {
		a.delivered = map[string]bool{}
	}
	a.delivered[id] = true
}

func (a *assembler) end(message *pictorv1.GenerationEvent, generation *pictorv1.Generation) []Event {
	a.completed = true
	var events []Event
	if message.GetSequence() != a.last+1 || len(a.again) > 0 {
		for _, image := range Images(generation) { // that the log no longer had
			if !a.delivered[image.GetId()] {
				events = append(events, Image{entry{message}, image})
			}
		}
	}
	return append(events, Completed{entry{message}, generation})
}

// check answers DATA_LOSS unless the bytes are the ones that the picture's description names.
func check(image *pictorv1.Image, size int64, sum []byte) error {
	if hex.EncodeToString(sum) == image.GetSha256() {
		return nil
	}
	return damaged("picture %s arrived damaged: %d of %d bytes, wrong SHA-256", image.GetId(), size, image.GetSizeBytes())
}

// damaged is the client's own error: bytes did not arrive as they were sent.
func damaged(format string, parts ...any) *Error {
	return &Error{Code: codes.DataLoss, Reason: reasonOf(codes.DataLoss), Message: fmt.Sprintf(format, parts...)}
}
