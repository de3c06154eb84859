package pictor

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pictorv1 "pictor.dev/gen/pictor/v1"
)

// SetEvent is one step of a set: [SetAccepted], [SetStep], [SetItemFailed] or [SetSummary], as a value. Switch on its type;
// there may be more kinds one day.
type SetEvent interface {
	// ItemKey names the item that this is about; empty for the set as a whole.
	ItemKey() string
	// Model was asked for this item; empty if the router decides.
	Model() string
	// GenerationID names the generation that this is about; empty before it exists.
	GenerationID() string

	isSetEvent()
}

type part struct{ raw *pictorv1.GenerateSetResponse }

func (p part) ItemKey() string      { return p.raw.GetItemKey() }
func (p part) Model() string        { return p.raw.GetModel() }
func (p part) GenerationID() string { return p.raw.GetGenerationId() }
func (part) isSetEvent()            {}

// SetAccepted says that the set exists; nothing is sent yet.
type SetAccepted struct {
	part
	*pictorv1.SetAccepted
}

// SetStep is a step of one item's generation.
type SetStep struct {
	part
	Event Event
}

// SetItemFailed says that an item brought no picture; the others go on.
type SetItemFailed struct {
	part
	*pictorv1.SetItemFailed
}

// SetSummary is the end: what became of all items.
type SetSummary struct {
	part
	*pictorv1.SetSummary
}

// StreamSet makes many pictures from one brief and tells what happens on the way; [SetSummary] comes last.
//
// Previews and pictures come whole and verified. After a lost connection the same set is sent again with the same
// request_id, which joins or replays its generations: no event comes twice, no picture is paid twice. What was still waiting
// then, unpaid, is drawn as a new generation of its item. An error ends the sequence; with the set's id in its
// Metadata["set_id"] and its RequestID the set is found, and can be sent again.
func (c *Client) StreamSet(
	ctx context.Context, request *pictorv1.GenerateSetRequest, options ...CallOption,
) iter.Seq2[SetEvent, error] {
	named := &pictorv1.GenerateSetRequest{}
	if request != nil {
		named = proto.CloneOf(request)
	}
	named.Brief = withID(named.Brief)
	w := wished(named.Brief, options)
	return func(yield func(SetEvent, error) bool) {
		a := &setAssembler{withdrawn: w.withdrawn}
		j := c.setJourney(w.requestID, a)
		err := c.followSet(ctx, proto.CloneOf(named), a, w, j, func(event SetEvent) bool { return yield(event, nil) })
		if err != nil {
			yield(nil, j.about(err))
		}
	}
}

func (c *Client) setStream(request *pictorv1.GenerateSetRequest) opening[*pictorv1.GenerateSetResponse] {
	return func(ctx context.Context) (receiving[*pictorv1.GenerateSetResponse], error) {
		stream, err := c.Images.GenerateSet(ctx, request)
		if err != nil {
			return nil, err
		}
		return stream.Recv, nil
	}
}

// followSet reads a set to its end, over as many connections as it takes, or until emit wants no more.
func (c *Client) followSet(
	ctx context.Context, request *pictorv1.GenerateSetRequest, a *setAssembler, w wish, j *setJourney,
	emit func(SetEvent) bool,
) error {
	for {
		done, err := receive(ctx, c.setStream(request), func(message *pictorv1.GenerateSetResponse) (bool, error) {
			events, err := a.feed(message)
			for _, event := range events {
				j.progress()
				if event, err = c.setWithBytes(ctx, event, w); err != nil || !emit(event) {
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
		if err := j.goOn(ctx, err); err != nil {
			return err
		}
		a.interrupt()
		if !w.leaveOut { // or all bytes would come again; a download goes on where it broke
			request.Brief.MaxInlineBytes = proto.Int64(0)
		}
	}
}

func (c *Client) setWithBytes(ctx context.Context, event SetEvent, w wish) (SetEvent, error) {
	step, isStep := event.(SetStep)
	if !isStep {
		return event, nil
	}
	whole, err := c.withBytes(ctx, step.Event, w)
	return SetStep{step.part, whole}, err
}

// setAssembler turns a set's messages into events; every generation has an assembler of its own.
//
// After a lost connection the same set is sent again and its messages come from the beginning; what was told before is
// dropped. What the loss withdrew from the queue may be heard once more as CANCELLED while the gateway clears it away: that
// is nobody's wish, so it is not told, and the set counts as unfinished.
type setAssembler struct {
	withdrawn   bool   // whether the gateway gives up what is not sent when the connection is lost
	setID       string // once the set is known to be accepted
	accepted    bool
	completed   bool
	generations map[string]*assembler
	failed      map[item]bool
	lost        bool
	withheld    bool
	ended       bool
}

type item struct{ key, model string }

// interrupt says that the set will come again from the beginning: after a broken connection, or because it is unfinished.
func (a *setAssembler) interrupt() {
	a.lost, a.ended, a.withheld = !a.ended, false, false
	for _, each := range a.generations {
		each.interrupt()
	}
}

// feed takes one message and answers the events that are whole with it, and new; its error is DATA_LOSS.
func (a *setAssembler) feed(message *pictorv1.GenerateSetResponse) ([]SetEvent, error) {
	about := part{message}
	switch step := message.GetStep().(type) {
	case *pictorv1.GenerateSetResponse_SetAccepted:
		known := a.accepted
		a.accepted, a.setID = true, step.SetAccepted.GetSetId()
		if known {
			return nil, nil
		}
		return []SetEvent{SetAccepted{about, step.SetAccepted}}, nil
	case *pictorv1.GenerateSetResponse_Event:
		return a.step(message, step.Event)
	case *pictorv1.GenerateSetResponse_ItemFailed:
		if !a.isNews(item{message.ItemKey, message.Model}, step.ItemFailed.GetReason()) {
			return nil, nil
		}
		return []SetEvent{SetItemFailed{about, step.ItemFailed}}, nil
	case *pictorv1.GenerateSetResponse_Summary:
		a.ended, a.completed = true, !a.withheld
		if !a.completed {
			return nil, nil
		}
		return []SetEvent{SetSummary{about, step.Summary}}, nil
	}
	return nil, nil
}

func (a *setAssembler) isNews(failed item, reason string) bool {
	switch {
	case a.failed[failed]:
		return false
	case a.lost && a.withdrawn && reason == reasonOf(codes.Canceled):
		a.withheld = true
		return false
	case a.failed == nil:
		a.failed = map[item]bool{}
	}
	a.failed[failed] = true
	return true
}

func (a *setAssembler) step(message *pictorv1.GenerateSetResponse, event *pictorv1.GenerationEvent) ([]SetEvent, error) {
	if event.GetHeartbeat() != nil {
		return nil, nil
	}
	id := message.GetGenerationId()
	if id == "" {
		return nil, damaged("a step of a set names no generation")
	}
	generation := a.generations[id]
	if generation == nil {
		if a.generations == nil {
			a.generations = map[string]*assembler{}
		}
		generation = &assembler{}
		a.generations[id] = generation
	}
	if generation.completed {
		return nil, nil
	}
	events, err := generation.feed(event)
	steps := make([]SetEvent, 0, len(events))
	for _, each := range events {
		steps = append(steps, SetStep{part{message}, each})
	}
	return steps, err
}

// isWithin tells whether all generations that were heard of are among these.
func (a *setAssembler) isWithin(listed map[string]bool) bool {
	for id := range a.generations {
		if !listed[id] {
			return false
		}
	}
	return true
}

// setJourney is a set's way over as many connections as it takes: the same set is sent again, with the same request_id.
//
// The gateway joins or replays each generation of a set that it knows, so nothing is paid twice. A gateway that has
// forgotten them (its database was in memory, or is another one) would draw them anew, so it is asked first whether it knows
// every one that was heard of. A set of which not even the id came back cannot be asked for, and is not sent again.
//
// Not handled: what gRPC itself repeats before all this (service_config.json), a set of which nothing came back.
type setJourney struct {
	patience  // counted anew for what is new: what is only repeated could go on for ever
	listed    func(ctx context.Context, setID string) (map[string]bool, error)
	requestID string
	began     time.Time
	seen      *setAssembler
	lost      bool
}

func (c *Client) setJourney(requestID string, seen *setAssembler) *setJourney {
	return &setJourney{
		patience: patience{delays: c.delays, onLost: c.onLost}, listed: c.listed, requestID: requestID, began: time.Now(),
		seen: seen,
	}
}

// listed are the generations of a set that the gateway knows.
func (c *Client) listed(ctx context.Context, setID string) (map[string]bool, error) {
	found := map[string]bool{}
	message := &pictorv1.ListGenerationsRequest{SetId: setID, PageSize: 200}
	for {
		page, err := c.History.ListGenerations(ctx, message)
		if err != nil {
			return nil, err
		}
		for _, generation := range page.Generations {
			found[generation.Id] = true
		}
		if message.PageToken = page.NextPageToken; message.PageToken == "" {
			return found, nil
		}
	}
}

// goOn waits until it is time to send the set again, or answers the error that it cannot be gone on with.
func (j *setJourney) goOn(ctx context.Context, ended error) error {
	err := asError(ended)
	if j.seen.setID == "" {
		j.seen.setID = err.Metadata["set_id"] // it comes before the first message
	}
	for {
		if !err.isLost() || (err.unsent && j.seen.setID == "") {
			return err
		}
		if j.lost = true; j.seen.setID == "" {
			return err
		}
		if given := j.wait(ctx, err); given != nil {
			return given
		}
		listed, failure := j.listed(ctx, j.seen.setID)
		switch {
		case failure != nil:
			err = asError(failure)
		case len(listed) > 0 && j.seen.isWithin(listed):
			return nil
		case len(j.seen.generations) > 0:
			return j.forgotten(err)
		default: // it may be about to open the first one
			err = j.forgotten(err)
		}
	}
}

func (j *setJourney) mayBePaid() bool { return j.lost || j.seen.setID != "" }

func (j *setJourney) forgotten(lost *Error) *Error {
	if lost.Paid {
		return lost // said before
	}
	said := lost.forgotten("set "+j.seen.setID, "what was made")
	said.Message += fmt.Sprintf(" (request_id %s)", j.requestID)
	said.Paid = true
	return said
}

// about adds what to look for: once the set may have been accepted, money may be spent.
func (j *setJourney) about(ended error) error {
	err := asError(ended).about(j.requestID, time.Since(j.began))
	if j.seen.setID != "" {
		err.Metadata = maps.Clone(err.Metadata)
		if err.Metadata == nil {
			err.Metadata = map[string]string{}
		}
		err.Metadata["set_id"] = j.seen.setID
	}
	if j.mayBePaid() && !err.Paid {
		what := "it is unknown whether the set was accepted"
		if j.seen.setID != "" {
			what = "money may be spent on set " + j.seen.setID
		}
		err = err.saying("%s: send it again with request_id %s", what, j.requestID)
		err.Paid = true
	}
	return err
}
