package pictor

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"

	pictorv1 "pictor.dev/gen/pictor/v1"
)

// Longest wait before each try; a restart of the gateway fits in, a broken network does not go on for ever.
var reconnectDelays = []time.Duration{
	100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second,
	5 * time.Second, 5 * time.Second, 5 * time.Second,
}

// patience counts the tries of one call since it last brought something.
type patience struct {
	delays []time.Duration
	onLost func(*Error)
	tries  int
}

// progress says that something arrived: begin to count anew.
func (p *patience) progress() { p.tries = 0 }

// wait waits until the next try is due, or answers lost itself if all tries are used up. Half of each delay is random, so
// that clients do not come back as one.
func (p *patience) wait(ctx context.Context, lost *Error) error {
	if p.tries == len(p.delays) {
		return lost
	}
	if p.tries == 0 {
		p.onLost(lost)
	}
	delay := p.delays[p.tries]
	p.tries++
	timer := time.NewTimer(delay/2 + time.Duration(rand.Float64()*float64(delay)/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return lost.interrupted(ctx.Err())
	}
}

// journey is one call's way over as many connections as it takes: when to go on, when to send again, when to give up.
//
// A generation goes on while its reader is away, so a lost connection is followed by WatchGeneration. If the call broke
// before its id came back, its request_id tells whether it was accepted.
//
// Sending a call again may pay again: a gateway that does not know a generation may have been restarted and have forgotten
// it. So that is done only after the gateway itself said that the generation ended and nothing was spent. Everything else
// ends with the error of the lost connection, which says that the outcome is unknown.
//
// Not handled: what gRPC itself repeats before all this (service_config.json), a call of which not even the id came back.
type journey struct {
	patience
	find      func(ctx context.Context, requestID string) (string, error)
	requestID string
	began     time.Time
	lost      *Error
}

func (c *Client) journey(requestID string) *journey {
	find := func(ctx context.Context, id string) (string, error) {
		key := &pictorv1.GetGenerationRequest_RequestId{RequestId: id}
		answer, err := c.History.GetGeneration(ctx, &pictorv1.GetGenerationRequest{Key: key})
		return answer.GetGeneration().GetId(), err
	}
	return &journey{
		patience: patience{delays: c.delays, onLost: c.onLost}, find: find, requestID: requestID, began: time.Now(),
	}
}

// goOn waits until it is time to watch the generation of a lost call, and answers its id. If there is nothing to watch the
// error is the one that the call ended with, or the lost connection that went before it.
func (j *journey) goOn(ctx context.Context, ended error, generationID string) (string, error) {
	err := asError(ended).about(j.requestID, time.Since(j.began))
	if j.lost != nil && err.Code == codes.NotFound {
		return "", j.lost.forgotten("generation "+j.lost.GenerationID, "whether it was made")
	}
	if generationID != "" {
		err.GenerationID = generationID
	}
	if !err.isLost() {
		return "", err
	}
	if err.GenerationID == "" {
		if unknown := j.accepted(ctx, err); unknown != nil {
			return "", unknown
		}
	}
	err.Paid = true
	j.lost = err
	return err.GenerationID, j.wait(ctx, err)
}

// accepted finds the id of a call that broke before it came, by its request_id.
func (j *journey) accepted(ctx context.Context, lost *Error) error {
	if lost.Reason != Unreachable || lost.unsent || j.requestID == "" {
		return lost // refused, or never on its way: not accepted
	}
	var err error
	if lost.GenerationID, err = j.find(ctx, j.requestID); err == nil {
		return nil
	}
	unknown := lost.saying("it is unknown whether the call was accepted: look for its request_id %s", j.requestID)
	unknown.Paid = true
	unknown.Metadata = maps.Clone(lost.Metadata)
	if unknown.Metadata == nil {
		unknown.Metadata = map[string]string{}
	}
	unknown.Metadata["request_id"] = j.requestID
	return unknown
}

// sendAgain waits until the call may be sent again, free of charge, or answers the error itself: it ended otherwise than
// unpaid because its server went away, or we seemed to (withdrawn).
func (j *journey) sendAgain(ctx context.Context, ended error, withdrawn bool) error {
	err := asError(ended)
	seemedGone := err.Reason == reasonOf(codes.Canceled) && withdrawn && j.lost != nil
	if err.Paid || !err.isEnd() || !(seemedGone || err.Reason == shuttingDown) {
		return err
	}
	j.lost = nil
	return j.wait(ctx, err)
}

// forgotten is the same error if a gateway answers again which does not know what; that nobody answered meanwhile is no news.
func (e *Error) forgotten(what, outcome string) *Error {
	said := *e
	said.Message = fmt.Sprintf("the connection was lost, and the gateway that answers now does not know %s "+
		"(another data folder?), so it is unknown %s", what, outcome)
	return &said
}

// saying is the same error with more to its text.
func (e *Error) saying(format string, parts ...any) *Error {
	said := *e
	said.Message += "; " + fmt.Sprintf(format, parts...)
	return &said
}
