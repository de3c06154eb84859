// Package gatewaytest starts `pictord serve --sandbox` as a process, for tests.
package gatewaytest

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// Keys of the two callers that the gateway knows.
const (
	CallerKey   = "pictor_caller"
	OperatorKey = "pictor_operator"
)

// Runs a command until the input is closed: by End, or because the tests died.
const untilClosed = `"$@" & gateway=$!; cat; kill $gateway; wait $gateway`

// Gateway is a running process.
type Gateway struct {
	// Address is where it serves gRPC.
	Address string
	// Console is where it serves HTTP.
	Console string
	// Admin is where it serves metrics, by HTTP/1 alone.
	Admin string

	sandbox string
	process *exec.Cmd
	input   io.Closer
	folder  string
}

// Start waits until it serves; End must follow.
func Start() (*Gateway, error) {
	folder, err := os.MkdirTemp("", "pictor-go-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(folder, "pictor.toml")
	// one call of gemini's at a time, so that a set has items that are not sent yet
	callers := fmt.Sprintf("drain_s = 5.0\n[providers.gemini]\nmax_concurrency = 1\n\n[[callers]]\nname = \"tool\"\nkeys = [\"%x\"]\n\n[[callers]]\nname = \"team\"\nkeys = [\"%x\"]\nrole = \"operator\"\n",
		sha256.Sum256([]byte(CallerKey)), sha256.Sum256([]byte(OperatorKey)))
	if err := os.WriteFile(config, []byte(callers), 0o600); err != nil {
		return nil, err
	}
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..", "..", "..")
	g := &Gateway{folder: folder}
	g.process = exec.Command("sh", "-c", untilClosed, "sh",
		filepath.Join(root, ".venv", "bin", "pictord"), "serve", "--sandbox", "--time-scale", "0.05")
	g.process.Dir = folder
	g.process.Env = append(clean(os.Environ()),
		"PICTOR_CONFIG="+config, "PICTOR_DATA_DIR="+filepath.Join(folder, "data"), "PICTOR_LISTEN=127.0.0.1:0",
		"PICTOR_ADMIN_LISTEN=127.0.0.1:0", "PICTOR_HTTP_LISTEN=127.0.0.1:0", "PYTHONUNBUFFERED=1")
	if g.input, err = g.process.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := g.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	g.process.Stderr = g.process.Stdout
	if err := g.process.Start(); err != nil {
		return nil, fmt.Errorf("make install, please: %w", err)
	}
	lines := bufio.NewScanner(output)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		if found := regexp.MustCompile(`GEMINI_BASE_URL=(\S+)`).FindStringSubmatch(lines.Text()); found != nil {
			g.sandbox = found[1]
		}
		if found := regexp.MustCompile(`gRPC on (\S+), admin on (\S+), console on http://([^/]+)/`).FindStringSubmatch(lines.Text()); found != nil {
			g.Address, g.Admin, g.Console = found[1], found[2], found[3]
			go func() { // a full pipe would stop it
				for lines.Scan() {
				}
			}()
			return g, nil
		}
	}
	g.End()
	return nil, fmt.Errorf("pictord did not start: %s", strings.Join(said, "\n"))
}

// End stops the process and waits for it.
func (g *Gateway) End() {
	g.input.Close()
	g.process.Wait()
	os.RemoveAll(g.folder)
}

// Charges is how many calls the simulated engines billed: the truth about money.
func (g *Gateway) Charges() (int, error) {
	answer, err := http.Get(g.sandbox + "/sandbox/charges")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var log struct{ Charges []struct{} }
	err = json.NewDecoder(answer.Body).Decode(&log)
	return len(log.Charges), err
}

func clean(environment []string) []string {
	var kept []string
	for _, entry := range environment {
		if !regexp.MustCompile(`^(PICTOR_|OPENAI_|GEMINI_|GOOGLE_|OTEL_|IMAGE_EDIT_|GRPC_)`).MatchString(entry) {
			kept = append(kept, entry)
		}
	}
	return kept
}
