package pictor_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pictorv1 "pictor.dev/gen/pictor/v1"
	"pictor.dev/internal/gatewaytest"
	"pictor.dev/pictor"
)

var gateway *gatewaytest.Gateway

func TestMain(m *testing.M) {
	os.Unsetenv("PICTOR_API_KEY")
	os.Unsetenv("PICTOR_ADDRESS")
	var err error
	if gateway, err = gatewaytest.Start(); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	gateway.End()
	os.Exit(code)
}

// --- what comes back

func TestGenerateAnswersWithAVerifiedPicture(t *testing.T) {
	client := connect(t, gateway.Address)

	made, err := client.Generate(ctx(t), &pictorv1.GenerateRequest{Prompt: "a red fox", Canvas: pictor.Format("instagram/story")})

	must(t, err)
	pictures := pictor.Images(made)
	if len(pictures) != 1 || !made.Sandbox || made.Request.RequestId == "" {
		t.Fatalf("got %v", made)
	}
	isWhole(t, pictures[0])
	if pictures[0].HeightPx <= pictures[0].WidthPx {
		t.Errorf("a story is %d x %d", pictures[0].WidthPx, pictures[0].HeightPx)
	}
}

func TestAStreamBringsWholePreviewsAndPictures(t *testing.T) {
	client := connect(t, gateway.Address)
	var kinds []string
	var previews int

	for event, err := range client.Stream(ctx(t), pro("a grey fox")) {
		must(t, err)
		kinds = append(kinds, kind(event))
		switch event := event.(type) {
		case pictor.Preview:
			if _, _, err := image.Decode(bytes.NewReader(event.Data)); err != nil {
				t.Errorf("preview %d: %v", event.Index, err)
			}
			if event.Index != int32(previews) || int64(len(event.Data)) != event.SizeBytes {
				t.Errorf("preview %d has %d of %d bytes", event.Index, len(event.Data), event.SizeBytes)
			}
			previews++
		case pictor.Image:
			isWhole(t, event.Picture)
		}
	}

	want := "Accepted AttemptStarted Preview Preview Image Completed"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestGenerateAsksForNoPreviewsThatNobodyWouldSee(t *testing.T) {
	client := connect(t, gateway.Address)
	made, err := client.Generate(ctx(t), pro("an unseen fox"))
	must(t, err)

	for event, err := range client.Watch(ctx(t), made.Id, 0) {
		must(t, err)
		if _, seen := event.(pictor.Preview); seen {
			t.Error("a preview, which is priced")
		}
	}
}

func TestAllPicturesOfACallComeTogether(t *testing.T) {
	client := connect(t, gateway.Address)

	made, err := client.Generate(ctx(t), &pictorv1.GenerateRequest{Prompt: "foxes", Count: proto.Int32(2), MaxInlineBytes: proto.Int64(0)})
	must(t, err)
	bare, err := client.Generate(ctx(t), &pictorv1.GenerateRequest{Prompt: "foxes", MaxInlineBytes: proto.Int64(0)}, pictor.WithoutFetch())
	must(t, err)

	if len(pictor.Images(made)) != 2 || len(pictor.Images(bare)) != 1 || pictor.Images(bare)[0].Data != nil {
		t.Fatalf("got %d and %d pictures", len(pictor.Images(made)), len(pictor.Images(bare)))
	}
	for _, picture := range pictor.Images(made) {
		isWhole(t, picture)
	}
}

func TestAnUploadedPictureIsEdited(t *testing.T) {
	client := connect(t, gateway.Address)
	made, err := client.Generate(ctx(t), &pictorv1.GenerateRequest{Prompt: "a red fox"})
	must(t, err)
	first := pictor.Images(made)[0]

	brought, err := client.Upload(ctx(t), bytes.NewReader(first.Data))
	must(t, err)
	edited, err := client.Edit(ctx(t), &pictorv1.EditRequest{
		Request: &pictorv1.GenerateRequest{Prompt: "make it stormy"}, Image: pictor.ImageID(brought.Id),
	})
	must(t, err)
	var last pictor.Event
	for last, err = range client.StreamEdit(ctx(t), &pictorv1.EditRequest{
		Request: &pictorv1.GenerateRequest{Prompt: "make it sunny"}, Image: pictor.ImageData(first.Data),
	}) {
		must(t, err)
	}

	if brought.Sha256 != first.Sha256 || edited.Request.ImageSha256 != first.Sha256 {
		t.Error("the picture that was edited is not the one that was uploaded")
	}
	isWhole(t, pictor.Images(edited)[0])
	if end, ok := last.(pictor.Completed); !ok || end.Generation.Request.ImageSha256 != first.Sha256 {
		t.Errorf("the last event is %T", last)
	}
}

func TestWhatWasMadeIsWatchedRerolledAndListed(t *testing.T) {
	client := connect(t, gateway.Address)
	label := map[string]string{"test": t.Name()}
	made, err := client.Generate(ctx(t), &pictorv1.GenerateRequest{Prompt: "a blue fox", Labels: label})
	must(t, err)

	var again, other *pictorv1.Image
	for event, err := range client.Watch(ctx(t), made.Id, 0) {
		must(t, err)
		if event, ok := event.(pictor.Image); ok {
			again = event.Picture
		}
	}
	for event, err := range client.StreamReroll(ctx(t), &pictorv1.RerollRequest{GenerationId: made.Id}) {
		must(t, err)
		if event, ok := event.(pictor.Image); ok {
			other = event.Picture
		}
	}
	back, err := client.Reroll(ctx(t), &pictorv1.RerollRequest{GenerationId: made.Id, Model: made.Decision.Candidates[0].Model})
	must(t, err)
	isWhole(t, pictor.Images(back)[0])
	var listed int
	for _, err := range client.List(ctx(t), &pictorv1.ListGenerationsRequest{Labels: label, PageSize: 1}) {
		must(t, err)
		listed++
	}

	if again.GetSha256() != pictor.Images(made)[0].Sha256 || other.GetModel() == again.GetModel() || listed != 3 ||
		back.Lineage.RerollOf != made.Id {
		t.Errorf("watched %s, drawn again by %s, listed %d", again.GetModel(), other.GetModel(), listed)
	}
}

// --- the network

func TestAConnectionThatIsCutCostsNothing(t *testing.T) {
	before, err := gateway.Charges()
	must(t, err)
	line := plugged(t, gateway.Address, nil)
	lost := 0
	client := connect(t, line.address, pictor.WithOnLost(func(*pictor.Error) { lost++ }))
	request := pro("a fox on the other side of a cut")
	request.RequestId = t.Name()
	var sequences []int64
	var kinds []string

	for event, err := range client.Stream(ctx(t), request) {
		must(t, err)
		sequences, kinds = append(sequences, event.Sequence()), append(kinds, kind(event))
		switch event := event.(type) {
		case pictor.Accepted, pictor.Preview:
			line.cut()
		case pictor.Image:
			isWhole(t, event.Picture)
		}
	}

	if got := strings.Join(kinds, " "); got != "Accepted AttemptStarted Preview Preview Image Completed" {
		t.Errorf("got %s", got)
	}
	for i, sequence := range sequences {
		if sequence != int64(i+1) {
			t.Errorf("sequences %v", sequences)
		}
	}
	var attempts, generations int
	for generation, err := range client.List(ctx(t), &pictorv1.ListGenerationsRequest{RequestId: t.Name()}) {
		must(t, err)
		generations++
		attempts += len(generation.Attempts)
	}
	after, err := gateway.Charges()
	must(t, err)
	if generations != 1 || attempts != 1 || after-before != 1 || lost < 2 {
		t.Errorf("%d generations, %d attempts, %d charges, %d losses", generations, attempts, after-before, lost)
	}
}

func TestADownloadGoesOnWhereItWasCut(t *testing.T) {
	made, err := connect(t, gateway.Address).Generate(ctx(t), pro("a large fox"))
	must(t, err)
	whole := pictor.Images(made)[0]
	line := plugged(t, gateway.Address, nil)
	lost := 0
	client := connect(t, line.address, pictor.WithOnLost(func(*pictor.Error) { lost++ }))
	cutter := &cutting{cut: line.cut}

	_, err = client.Download(ctx(t), whole.Id, cutter)

	must(t, err)
	if !bytes.Equal(cutter.got.Bytes(), whole.Data) || lost == 0 {
		t.Errorf("%d of %d bytes, %d losses", cutter.got.Len(), len(whole.Data), lost)
	}
}

// cutting is a writer that breaks the line after the first bytes.
type cutting struct {
	got bytes.Buffer
	cut func()
}

func (c *cutting) Write(data []byte) (int, error) {
	if c.got.Len() == 0 {
		c.cut()
	}
	return c.got.Write(data)
}

func TestAFileIsThereWholeOrNotAtAll(t *testing.T) {
	client := connect(t, gateway.Address)
	made, err := client.Generate(ctx(t), &pictorv1.GenerateRequest{Prompt: "a red fox"})
	must(t, err)
	picture, folder := pictor.Images(made)[0], t.TempDir()

	_, err = client.DownloadFile(ctx(t), picture.Id, filepath.Join(folder, "fetched"))
	must(t, err)
	must(t, pictor.Save(filepath.Join(folder, "saved"), picture))
	_, unknown := client.DownloadFile(ctx(t), "img_nobody", filepath.Join(folder, "nobody"))
	_, homeless := client.DownloadFile(ctx(t), picture.Id, filepath.Join(folder, "nowhere", "fox"))
	unsaved := pictor.Save(filepath.Join(folder, "nowhere", "fox"), picture)

	for _, name := range []string{"fetched", "saved"} {
		data, err := os.ReadFile(filepath.Join(folder, name))
		must(t, err)
		if !bytes.Equal(data, picture.Data) {
			t.Errorf("%s has %d bytes", name, len(data))
		}
	}
	files, err := os.ReadDir(folder)
	must(t, err)
	if len(files) != 2 {
		t.Errorf("left behind: %v", files)
	}
	told(t, unknown, codes.NotFound, "NOT_FOUND")
	for _, err := range []error{homeless, unsaved} {
		if told := told(t, err, codes.Aborted, pictor.NotSaved); !errors.Is(err, os.ErrNotExist) ||
			!strings.Contains(told.Message, picture.Id) {
			t.Errorf("%v", err)
		}
	}
}

func TestADiskThatIsFullIsSaid(t *testing.T) {
	client := connect(t, gateway.Address)
	made, err := client.Generate(ctx(t), &pictorv1.GenerateRequest{Prompt: "a red fox"})
	must(t, err)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, err)
	defer full.Close()

	_, err = client.Download(ctx(t), pictor.Images(made)[0].Id, full)

	told(t, err, codes.Aborted, pictor.NotSaved)
	if !strings.Contains(err.Error(), "no space left on device; what was drawn is paid and kept") {
		t.Error(err)
	}
}

// --- what goes wrong

func TestARefusedPromptSaysWhyAndWhich(t *testing.T) {
	fault := pictor.WithMetadata("x-sandbox-fault", "gemini:finish_reason;reason=IMAGE_SAFETY")

	_, err := connect(t, gateway.Address, fault).Generate(ctx(t), &pictorv1.GenerateRequest{Prompt: "a red fox"})

	if refused := told(t, err, codes.FailedPrecondition, "CONTENT_POLICY"); refused.GenerationID == "" || refused.RequestID == "" {
		t.Errorf("got %+v", refused)
	}
}

func TestAWrongFieldIsNamed(t *testing.T) {
	_, err := connect(t, gateway.Address).Generate(ctx(t), &pictorv1.GenerateRequest{Prompt: "a fox", Count: proto.Int32(11)})

	refused := told(t, err, codes.InvalidArgument, "COUNT_OUT_OF_RANGE")
	if len(refused.Violations) != 1 || refused.Violations[0].Field != "count" || refused.Paid {
		t.Errorf("got %+v", refused)
	}
}

func TestASpentBudgetRefusesBeforeMoneyIsSpent(t *testing.T) {
	operator := connect(t, gateway.Address, pictor.WithAPIKey(gatewaytest.OperatorKey))
	_, err := operator.Usage.SetBudget(ctx(t), &pictorv1.SetBudgetRequest{Budget: &pictorv1.Budget{
		Id: "one-each", Counted: pictorv1.Budget_COUNTED_END_USER, Key: "*",
		Amount: &pictorv1.Budget_Pictures{Pictures: 1}, Window: pictorv1.Budget_WINDOW_DAY,
	}})
	must(t, err)
	request := &pictorv1.GenerateRequest{Prompt: "a red fox", EndUser: "poor"}
	client := connect(t, gateway.Address)
	_, err = client.Generate(ctx(t), request)
	must(t, err)

	_, err = client.Generate(ctx(t), request)

	if refused := told(t, err, codes.ResourceExhausted, "BUDGET_EXHAUSTED"); refused.Paid {
		t.Errorf("got %+v", refused)
	}
}

func TestAWrongKeyIsRefused(t *testing.T) {
	_, err := connect(t, gateway.Address, pictor.WithAPIKey("pictor_wrong")).Generate(ctx(t), pro("a fox"))
	told(t, err, codes.Unauthenticated, "UNAUTHENTICATED")

	_, err = pictor.Dial(gateway.Address, pictor.WithAPIKey("with\nnewline"))
	if err == nil || strings.Contains(err.Error(), "newline") || !strings.Contains(err.Error(), "PICTOR_API_KEY") {
		t.Errorf("got %v", err)
	}
}

func TestTheStubsGiveTheSameErrors(t *testing.T) {
	_, err := connect(t, gateway.Address).History.GetGeneration(ctx(t), &pictorv1.GetGenerationRequest{
		Key: &pictorv1.GetGenerationRequest_GenerationId{GenerationId: "gen_nobody"},
	})

	told(t, err, codes.NotFound, "NOT_FOUND")
	if status.Code(err) != codes.NotFound {
		t.Errorf("gRPC's own reading is %s", status.Code(err))
	}
}

func TestNobodyAtTheAddressIsSaidAtOnce(t *testing.T) {
	client := connect(t, "127.0.0.1:1")

	_, err := client.Generate(ctx(t), pro("a fox"))

	absent := told(t, err, codes.Unavailable, pictor.Unreachable)
	if absent.Paid || absent.Message != "nothing answers at 127.0.0.1:1; start the gateway there, or set PICTOR_ADDRESS" {
		t.Errorf("got %+v", absent)
	}
}

func TestWhatDoesNotFitIsTold(t *testing.T) {
	certificate, roots := selfSigned(t)
	encrypted := plugged(t, gateway.Address, &certificate)
	webserver := httptest.NewServer(http.NotFoundHandler())
	defer webserver.Close()
	for name, c := range map[string]struct {
		address string
		want    string
		options []pictor.Option
	}{
		"to plain gRPC":   {"https://" + gateway.Address, "but without TLS; leave out https://", nil},
		"not trusted":     {"https://" + encrypted.address, "its certificate must be one that is trusted here", nil},
		"to a web server": {webserver.Listener.Addr().String(), "does not speak gRPC; look at the port in PICTOR_ADDRESS", nil},
		"to the metrics":  {gateway.Admin, "does not speak gRPC; look at the port in PICTOR_ADDRESS", nil},
		"to the console":  {gateway.Console, "does not speak gRPC; look at the port in PICTOR_ADDRESS", nil},
		"not asked for":   {encrypted.address, "and hangs up; if it speaks TLS, say https://" + encrypted.address, nil},
		"as it should be": {encrypted.address, "", []pictor.Option{
			pictor.WithTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := connect(t, c.address, c.options...).Generate(ctx(t), &pictorv1.GenerateRequest{Prompt: "a fox"})
			if c.want == "" {
				must(t, err)
			} else if wrong := told(t, err, codes.Unavailable, pictor.Unreachable); !strings.HasSuffix(wrong.Message, c.want) || wrong.Paid {
				t.Errorf("got %+v", wrong)
			}
		})
	}
}

func TestAnAddressHasAPort(t *testing.T) {
	for address, fits := range map[string]bool{
		"127.0.0.1:50051": true, "[::1]:50051": true, "https://pictor.example": true, "unix:///run/pictor": true,
		"http://host:1/": true, "127.0.0.1": false, "http://host": false, "host:": false,
	} {
		client, err := pictor.Dial(address)
		if (err == nil) != fits {
			t.Errorf("%s: %v", address, err)
		}
		if client != nil {
			client.Close()
		}
	}
}

func TestACallThatIsCancelledEndsAtOnce(t *testing.T) {
	slow := pictor.WithMetadata("x-sandbox-latency-ms", "2000")
	cancelled, cancel := context.WithCancel(ctx(t))
	defer cancel()
	began := time.Now()
	var last error

	for event, err := range connect(t, gateway.Address, slow).Stream(cancelled, pro("a slow fox")) {
		last = err
		if _, ok := event.(pictor.AttemptStarted); ok {
			cancel()
		}
	}

	if ended := told(t, last, codes.Canceled, "CANCELLED"); !errors.Is(last, context.Canceled) || ended.GenerationID == "" {
		t.Errorf("got %+v", ended)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s", took)
	}
	for range connect(t, gateway.Address).Watch(ctx(t), told(t, last, codes.Canceled, "CANCELLED").GenerationID, 0) {
		continue // what was left runs to its end, so that it costs nothing while another test counts
	}
}

func TestDefaultDeadlinesAreLongerThanTheSlowestModel(t *testing.T) {
	var config struct {
		MethodConfig []struct {
			Name    []struct{ Service, Method string }
			Timeout string
		}
	}
	must(t, json.Unmarshal([]byte(pictor.ServiceConfig), &config))
	plan, err := connect(t, gateway.Address).Images.Plan(ctx(t), &pictorv1.PlanRequest{Call: &pictorv1.PlanRequest_Generate{
		Generate: &pictorv1.GenerateRequest{
			Prompt: "a fox", Tier: pictorv1.Tier_TIER_PRO, Canvas: &pictorv1.Canvas{Resolution: pictorv1.Resolution_RESOLUTION_4K},
		},
	}})
	must(t, err)

	for _, each := range config.MethodConfig {
		if each.Name[0].Service != "pictor.v1.ImageService" {
			continue
		}
		limit, err := time.ParseDuration(each.Timeout)
		must(t, err)
		for _, candidate := range plan.Plan.Candidates {
			if limit <= candidate.Timeout.AsDuration() {
				t.Errorf("%s may take %s, and the call %s", candidate.Model, candidate.Timeout.AsDuration(), limit)
			}
		}
	}
}

func TestAmountsAreExact(t *testing.T) {
	for want, amount := range map[string]*pictorv1.Money{
		"0.50": pictor.Cents(50), "12.05": pictor.Cents(1205), "0.0683": {Nanos: 68_300_000},
		"-1.000000001": {Units: -1, Nanos: -1}, "0.00": nil,
	} {
		if got := pictor.USD(amount); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// --- helpers

func connect(t *testing.T, address string, options ...pictor.Option) *pictor.Client {
	t.Helper()
	client, err := pictor.Dial(address, append([]pictor.Option{pictor.WithAPIKey(gatewaytest.CallerKey)}, options...)...)
	must(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	limited, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return limited
}

func pro(prompt string) *pictorv1.GenerateRequest {
	return &pictorv1.GenerateRequest{Prompt: prompt, Model: "gpt-image-2", Quality: pictorv1.Quality_QUALITY_MEDIUM}
}

func kind(event pictor.Event) string {
	switch event.(type) {
	case pictor.Accepted:
		return "Accepted"
	case pictor.Queued:
		return "Queued"
	case pictor.AttemptStarted:
		return "AttemptStarted"
	case pictor.AttemptFailed:
		return "AttemptFailed"
	case pictor.Preview:
		return "Preview"
	case pictor.Image:
		return "Image"
	case pictor.Completed:
		return "Completed"
	}
	return "unknown"
}

func isWhole(t *testing.T, picture *pictorv1.Image) {
	t.Helper()
	sum := sha256.Sum256(picture.Data)
	decoded, _, err := image.DecodeConfig(bytes.NewReader(picture.Data))
	if err != nil || hex.EncodeToString(sum[:]) != picture.Sha256 ||
		decoded.Width != int(picture.WidthPx) || decoded.Height != int(picture.HeightPx) {
		t.Errorf("%s: %d of %d bytes, %v", picture.Id, len(picture.Data), picture.SizeBytes, err)
	}
}

// told is the error as ours, with the code and reason that it must have.
func told(t *testing.T, err error, code codes.Code, reason string) *pictor.Error {
	t.Helper()
	var ours *pictor.Error
	if !errors.As(err, &ours) {
		t.Fatalf("%v (%T) is no *pictor.Error", err, err)
	}
	if ours.Code != code || ours.Reason != reason {
		t.Errorf("got %s %s, want %s %s", ours.Code, ours, code, reason)
	}
	return ours
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
