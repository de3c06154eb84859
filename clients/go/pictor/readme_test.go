package pictor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pictor.dev/internal/gatewaytest"
)

// blocks are the fenced blocks of a language in the README.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	must(t, err)
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1) {
		found = append(found, string(match[1]))
	}
	return found
}

func TestTheReadmesProgramsRunAsTheyStand(t *testing.T) {
	commands, programs := blocks(t, "sh"), blocks(t, "go")
	example, err := os.ReadFile("../examples/fox/main.go")
	must(t, err)
	if len(commands) != 1 || len(programs) != 2 || programs[0] != string(example) {
		t.Fatal("the README's first program is not examples/fox/main.go")
	}
	fox, other := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(fox, "main.go"), []byte(programs[0]), 0o600))
	must(t, os.WriteFile(filepath.Join(other, "main.go"), []byte(programs[1]), 0o600))

	said := []string{shell(t, fox, gateway.Address, commands[0]), shell(t, other, gateway.Address, commands[0])}

	for i, words := range [][]string{{"preview 0: ", "preview 1: ", "saved out/fox.png"}, {"standard gemini", "PRICE_CEILING"}} {
		for _, word := range words {
			if !strings.Contains(said[i], word) {
				t.Errorf("program %d did not say %q: %s", i, word, said[i])
			}
		}
	}
	if saved, _ := filepath.Glob(filepath.Join(fox, "out", "fox.png")); len(saved) != 1 {
		t.Error("no picture was saved")
	}
	if saved, _ := filepath.Glob(filepath.Join(other, "stormy.*")); len(saved) != 1 {
		t.Error("no picture was downloaded")
	}
}

func TestTheExampleSaysInOneLineWhatIsWrong(t *testing.T) {
	command := exec.Command("go", "run", "../examples/fox")
	command.Env = append(os.Environ(), "PICTOR_ADDRESS=127.0.0.1:1")
	output, err := command.CombinedOutput()

	if err == nil || strings.Count(string(output), "\n") > 2 || !strings.Contains(string(output), "nothing answers at 127.0.0.1:1") {
		t.Errorf("%v: %s", err, output)
	}
	os.Remove("out")
}

// shell runs lines as a reader of the README would.
func shell(t *testing.T, folder, address, lines string) string {
	t.Helper()
	root, err := filepath.Abs("../../..")
	must(t, err)
	command := exec.Command("sh", "-ec", lines)
	command.Dir = folder
	command.Env = append(os.Environ(), "PICTOR="+root, "PICTOR_ADDRESS="+address, "PICTOR_API_KEY="+gatewaytest.CallerKey)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", lines, err, output)
	}
	return string(output)
}
