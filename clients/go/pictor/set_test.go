package pictor_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	pictorv1 "pictor.dev/gen/pictor/v1"
	"pictor.dev/pictor"
)

func threeItems(prompt string) *pictorv1.GenerateSetRequest {
	return &pictorv1.GenerateSetRequest{
		Brief: &pictorv1.GenerateRequest{Prompt: prompt},
		Items: []*pictorv1.SetItem{
			{Key: "a"}, {Key: "b", Prompt: "a grey fox"}, {Key: "c", Canvas: pictor.Ratio("16:9")},
		},
	}
}

// toldOnce tells whether every item has one whole picture and one end, every event came once, and the set begins and ends.
func toldOnce(t *testing.T, events []pictor.SetEvent) {
	t.Helper()
	told := map[string]map[string]int{"pictor.Image": {}, "pictor.Completed": {}}
	seen := map[string]map[int64]bool{}
	for i, event := range events {
		switch event := event.(type) {
		case pictor.SetAccepted:
			if i != 0 || event.OutputCount != 3 {
				t.Errorf("event %d is %v", i, event)
			}
		case pictor.SetSummary:
			if i != len(events)-1 || event.SucceededCount != 3 || event.FailedCount != 0 {
				t.Errorf("event %d is %v", i, event)
			}
		case pictor.SetItemFailed:
			t.Errorf("%s failed: %s", event.ItemKey(), event.Text)
		case pictor.SetStep:
			id, sequence := event.GenerationID(), event.Event.Sequence()
			if seen[id] == nil {
				seen[id] = map[int64]bool{}
			}
			if seen[id][sequence] {
				t.Errorf("%s: %d was told twice", id, sequence)
			}
			seen[id][sequence] = true
			switch event := event.Event.(type) {
			case pictor.Image:
				isWhole(t, event.Picture)
				told["pictor.Image"][events[i].ItemKey()]++
			case pictor.Completed:
				told["pictor.Completed"][events[i].ItemKey()]++
			}
		}
	}
	for kind, items := range told {
		if len(items) != 3 || items["a"] != 1 || items["b"] != 1 || items["c"] != 1 {
			t.Errorf("%s: %v", kind, items)
		}
	}
	if _, ended := events[len(events)-1].(pictor.SetSummary); !ended {
		t.Errorf("the last event is %T", events[len(events)-1])
	}
}

func TestASetThatIsCutTellsAndPaysEachItemOnce(t *testing.T) {
	for name, isCut := range map[string]func(pictor.SetEvent) bool{
		"never": func(pictor.SetEvent) bool { return false },
		"at once": func(event pictor.SetEvent) bool {
			_, accepted := event.(pictor.SetAccepted)
			return accepted
		},
		"after each picture": func(event pictor.SetEvent) bool {
			step, _ := event.(pictor.SetStep)
			_, ended := step.Event.(pictor.Image)
			return ended
		},
		"before each picture": func(event pictor.SetEvent) bool {
			step, _ := event.(pictor.SetStep)
			_, started := step.Event.(pictor.AttemptStarted)
			return started
		},
	} {
		t.Run(name, func(t *testing.T) {
			before, err := gateway.Charges()
			must(t, err)
			line, cuts, lost := plugged(t, gateway.Address, nil), 0, 0
			client := connect(t, line.address, pictor.WithOnLost(func(*pictor.Error) { lost++ }))
			var events []pictor.SetEvent

			for event, err := range client.StreamSet(ctx(t), threeItems(t.Name())) {
				must(t, err)
				events = append(events, event)
				if isCut(event) {
					line.cut()
					cuts++
				}
			}

			toldOnce(t, events)
			after, err := gateway.Charges()
			must(t, err)
			if after-before != 3 || (cuts > 0) != (lost > 0) {
				t.Errorf("%d charges, %d cuts, %d losses", after-before, cuts, lost)
			}
		})
	}
}

func TestASetLosesNothingWhereverItBreaks(t *testing.T) {
	log := wholeLog()
	for cut := range log {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			gateway := &canned{
				set: func(n int, _ *pictorv1.GenerateSetRequest, s drawingSet) error {
					s.Send(setAccepted())
					for i, event := range log {
						if n == 1 && i == cut {
							return lost()
						}
						s.Send(setStep("gen_1", event))
					}
					return s.Send(setSummary())
				},
				list: anyGeneration,
			}
			var sequences []int64

			for event, err := range gateway.start(t).StreamSet(ctx(t), oneItem()) {
				must(t, err)
				if step, ok := event.(pictor.SetStep); ok {
					sequences = append(sequences, step.Event.Sequence())
					switch event := step.Event.(type) {
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
			}

			if !slices.Equal(sequences, []int64{1, 2, 3, 5, 4, 6}) {
				t.Errorf("got %v", sequences)
			}
		})
	}
}

func TestASetThatReachedNobodyOrWasRefusedIsUnpaid(t *testing.T) {
	unsent := told(t, setEnd(t, connect(t, "127.0.0.1:1"), threeItems("a fox")), codes.Unavailable, pictor.Unreachable)
	wrong := told(t, setEnd(t, connect(t, gateway.Address), nil), codes.InvalidArgument, "COUNT_OUT_OF_RANGE")

	if unsent.Paid || unsent.RequestID == "" || unsent.Metadata["set_id"] != "" || wrong.Paid {
		t.Errorf("got %+v and %+v", unsent, wrong)
	}
}

func TestWhatTheLossWithdrewIsDrawnAfterAllAndNoFailure(t *testing.T) {
	gateway := &canned{
		set: func(n int, _ *pictorv1.GenerateSetRequest, s drawingSet) error {
			s.Send(setAccepted())
			switch n {
			case 1:
				s.Send(setStep("gen_1", &pictorv1.GenerationEvent{
					Sequence: 1, Event: &pictorv1.GenerationEvent_Accepted{Accepted: &pictorv1.Accepted{GenerationId: "gen_1"}},
				}))
				return lost()
			case 2:
				s.Send(setFailed("CANCELLED"))
			case 3:
				s.Send(setStep("gen_2", &pictorv1.GenerationEvent{
					Sequence: 1, Event: &pictorv1.GenerationEvent_Completed{Completed: &pictorv1.Completed{
						Generation: &pictorv1.Generation{Id: "gen_2"},
					}},
				}))
			}
			return s.Send(setSummary())
		},
		list: anyGeneration,
	}

	kinds := setKinds(t, gateway)

	if kinds != "SetAccepted SetStep SetStep SetSummary" ||
		!slices.Equal(gateway.asked, []string{"set mine", "list set_1", "set mine", "list set_1", "set mine"}) {
		t.Errorf("got %s after %v", kinds, gateway.asked)
	}
}

func TestAFailureOfAnItemIsToldOnce(t *testing.T) {
	gateway := &canned{set: func(n int, _ *pictorv1.GenerateSetRequest, s drawingSet) error {
		s.Send(setAccepted())
		s.Send(setFailed("CANCELLED")) // somebody's wish
		if n == 1 {
			return lost()
		}
		s.Send(setStep("", &pictorv1.GenerationEvent{
			Event: &pictorv1.GenerationEvent_Heartbeat{Heartbeat: &pictorv1.Heartbeat{}},
		}))
		s.Send(setFailed("CANCELLED"))
		return s.Send(setSummary())
	}, list: anyGeneration}

	if kinds := setKinds(t, gateway); kinds != "SetAccepted SetItemFailed SetSummary" || gateway.count("set mine") != 3 {
		t.Errorf("got %s after %v", kinds, gateway.asked)
	}
}

func TestASetThatTheGatewayForgotIsNotPaidAgain(t *testing.T) {
	for name, known := range map[string][]*pictorv1.Generation{"all of it": nil, "one that was seen": {{Id: "gen_1"}, {Id: "gen_3"}}} {
		t.Run(name, func(t *testing.T) {
			gateway := twoBegunThenLost(func(int) []*pictorv1.Generation { return known })

			forgotten := told(t, setEnd(t, gateway.start(t), oneItem()), codes.Unavailable, pictor.Unreachable)

			if !forgotten.Paid || forgotten.RequestID != "mine" || forgotten.Metadata["set_id"] != "set_1" ||
				forgotten.Message != "the connection was lost, and the gateway that answers now does not know set set_1 "+
					"(another data folder?), so it is unknown what was made (request_id mine)" ||
				!slices.Equal(gateway.asked, []string{"set mine", "list set_1"}) {
				t.Errorf("got %+v after %v", forgotten, gateway.asked)
			}
		})
	}
}

func TestASetOfWhichAllThatWasSeenIsKnownIsSentAgain(t *testing.T) {
	gateway := twoBegunThenLost(anyGeneration)
	gateway.more = []*pictorv1.Generation{{Id: "gen_2"}}

	kinds := setKinds(t, gateway)

	if kinds != "SetAccepted SetStep SetStep SetSummary" ||
		!slices.Equal(gateway.asked, []string{"set mine", "list set_1", "list more", "set mine"}) {
		t.Errorf("got %s after %v", kinds, gateway.asked)
	}
}

func twoBegunThenLost(list func(int) []*pictorv1.Generation) *canned {
	return &canned{set: func(n int, _ *pictorv1.GenerateSetRequest, s drawingSet) error {
		s.Send(setAccepted())
		if n > 1 {
			return s.Send(setSummary())
		}
		for _, id := range []string{"gen_1", "gen_2"} {
			s.Send(setStep(id, &pictorv1.GenerationEvent{
				Sequence: 1, Event: &pictorv1.GenerationEvent_Accepted{Accepted: &pictorv1.Accepted{GenerationId: id}},
			}))
		}
		return lost()
	}, list: list}
}

func TestASetWhoseGatewayStaysAwaySaysWhatToLookFor(t *testing.T) {
	gateway := &canned{set: func(n int, _ *pictorv1.GenerateSetRequest, s drawingSet) error {
		s.Send(setAccepted()) // again and again; nothing that is new
		return lost()
	}, list: anyGeneration}

	away := told(t, setEnd(t, gateway.start(t), oneItem()), codes.Unavailable, pictor.Unreachable)

	if !away.Paid || away.RequestID != "mine" || away.Metadata["set_id"] != "set_1" || gateway.count("set mine") != 4 ||
		!strings.HasSuffix(away.Message, "; money may be spent on set set_1: send it again with request_id mine") {
		t.Errorf("got %+v after %v", away, gateway.asked)
	}
}

func TestAGatewayThatKnowsOfNothingIsAskedAgainBeforeItIsGivenUp(t *testing.T) {
	gateway := &canned{
		set: func(n int, _ *pictorv1.GenerateSetRequest, s drawingSet) error {
			s.Send(setAccepted())
			if n == 1 {
				return lost()
			}
			return s.Send(setSummary())
		},
		list: func(n int) []*pictorv1.Generation { return anyGeneration(n)[:n-1] },
	}

	kinds := setKinds(t, gateway)

	if kinds != "SetAccepted SetSummary" ||
		!slices.Equal(gateway.asked, []string{"set mine", "list set_1", "list set_1", "set mine"}) {
		t.Errorf("got %s after %v", kinds, gateway.asked)
	}
}

func TestASetOfWhichNothingCameBackIsNotSentAgain(t *testing.T) {
	gateway := &canned{set: func(_ int, _ *pictorv1.GenerateSetRequest, s drawingSet) error {
		s.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", "-1")) // gRPC's own retries stay out of the way
		return lost()
	}}

	unknown := told(t, setEnd(t, gateway.start(t), oneItem()), codes.Unavailable, pictor.Unreachable)

	if !unknown.Paid || unknown.RequestID != "mine" || !slices.Equal(gateway.asked, []string{"set mine"}) ||
		!strings.HasSuffix(unknown.Message, "; it is unknown whether the set was accepted: send it again with request_id mine") {
		t.Errorf("got %+v after %v", unknown, gateway.asked)
	}
}

// --- helpers

// anyGeneration is one that the gateway knows of the set.
func anyGeneration(int) []*pictorv1.Generation { return []*pictorv1.Generation{{Id: "gen_1"}} }

func oneItem() *pictorv1.GenerateSetRequest {
	return &pictorv1.GenerateSetRequest{Brief: named("mine"), Items: []*pictorv1.SetItem{{Key: "a"}}}
}

// setEnd is the error that a set ends with.
func setEnd(t *testing.T, client *pictor.Client, request *pictorv1.GenerateSetRequest) error {
	t.Helper()
	for _, err := range client.StreamSet(ctx(t), request) {
		if err != nil {
			return err
		}
	}
	return nil
}

func setKinds(t *testing.T, gateway *canned) string {
	t.Helper()
	var kinds []string
	for event, err := range gateway.start(t).StreamSet(ctx(t), oneItem()) {
		must(t, err)
		switch event.(type) {
		case pictor.SetAccepted:
			kinds = append(kinds, "SetAccepted")
		case pictor.SetStep:
			kinds = append(kinds, "SetStep")
		case pictor.SetItemFailed:
			kinds = append(kinds, "SetItemFailed")
		case pictor.SetSummary:
			kinds = append(kinds, "SetSummary")
		}
	}
	return strings.Join(kinds, " ")
}

func setAccepted() *pictorv1.GenerateSetResponse {
	accepted := &pictorv1.SetAccepted{SetId: "set_1", OutputCount: 1}
	return &pictorv1.GenerateSetResponse{Step: &pictorv1.GenerateSetResponse_SetAccepted{SetAccepted: accepted}}
}

func setStep(generationID string, event *pictorv1.GenerationEvent) *pictorv1.GenerateSetResponse {
	return &pictorv1.GenerateSetResponse{
		ItemKey: "a", GenerationId: generationID, Step: &pictorv1.GenerateSetResponse_Event{Event: event},
	}
}

func setFailed(reason string) *pictorv1.GenerateSetResponse {
	failed := &pictorv1.SetItemFailed{Reason: reason}
	return &pictorv1.GenerateSetResponse{ItemKey: "a", Step: &pictorv1.GenerateSetResponse_ItemFailed{ItemFailed: failed}}
}

func setSummary() *pictorv1.GenerateSetResponse {
	return &pictorv1.GenerateSetResponse{Step: &pictorv1.GenerateSetResponse_Summary{Summary: &pictorv1.SetSummary{}}}
}
