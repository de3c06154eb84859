package pictor

import (
	"time"

	pictorv1 "pictor.dev/gen/pictor/v1"
)

// Event is one step of a generation: [Accepted], [Queued], [AttemptStarted], [AttemptFailed], [Preview], [Image] or
// [Completed], as a value. Switch on its type; there may be more kinds one day.
type Event interface {
	// Sequence is the place in the log; [Client.Watch] goes on from there.
	Sequence() int64
	// Time is when it happened.
	Time() time.Time

	isEvent()
}

type entry struct{ raw *pictorv1.GenerationEvent }

func (e entry) Sequence() int64 { return e.raw.GetSequence() }
func (e entry) Time() time.Time { return e.raw.GetEventTime().AsTime() }
func (entry) isEvent()          {}

// Accepted says that the generation exists; nothing is sent yet.
type Accepted struct {
	entry
	*pictorv1.Accepted
}

// Queued says that an output waits for the engine's rate limit or a slot.
type Queued struct {
	entry
	*pictorv1.Queued
}

// AttemptStarted says that an engine is being called; previews of earlier attempts for this output are void.
type AttemptStarted struct {
	entry
	*pictorv1.AttemptStarted
}

// AttemptFailed says that an engine brought no picture.
type AttemptFailed struct {
	entry
	*pictorv1.AttemptFailed
}

// Preview is an unfinished picture, only for showing.
type Preview struct {
	entry
	*pictorv1.Preview
	// Data is the encoded picture; nil if the gateway left it out because this reader is slow.
	Data []byte
}

// Image is a finished picture.
type Image struct {
	entry
	// Picture has its Data, unless the call asked not to fetch it.
	Picture *pictorv1.Image
}

// Completed is the end: the whole generation. Its pictures came before, so here they are without bytes.
type Completed struct {
	entry
	Generation *pictorv1.Generation
}
