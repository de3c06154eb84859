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

func TestTheReadmesCommandsRunAsTheyStand(t *testing.T) {
	first, root := blocks(t, "sh")[0], t.TempDir() // as the repository's root
	must(t, os.Symlink(filepath.Join(repository(t), "clients"), filepath.Join(root, "clients")))
	serve, commands, _ := strings.Cut(first, "\n")
	if !strings.HasPrefix(serve, "make serve ") || strings.Count(commands, "\n") != 2 {
		t.Fatalf("not three commands, of which the first is make serve: %s", first)
	}

	said := shell(t, root, gateway.Address, commands)

	for _, words := range []string{"preview 0: ", "preview 1: ", "saved out/fox.png"} {
		if !strings.Contains(said, words) {
			t.Errorf("it did not say %q: %s", words, said)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "out", "fox.png")); err != nil {
		t.Error(err)
	}
}

func TestTheReadmesProgramsRunAsTheyStand(t *testing.T) {
	programs := blocks(t, "go")
	example, err := os.ReadFile("../examples/fox/main.go")
	must(t, err)
	if len(programs) != 4 || programs[0] != string(example) {
		t.Fatal("the README's first program is not examples/fox/main.go")
	}
	install := strings.ReplaceAll(blocks(t, "sh")[1], "<clone>", repository(t))
	folder := t.TempDir()
	for i, expected := range []struct {
		said  string
		files []string
	}{
		{"saved out/fox.png", []string{"out/fox.png"}},
		{"3 pictures cost $0.", []string{"night.*", "story.*", "wide.*"}},
		{"standard gemini", []string{"stormy.*"}},
		{"too expensive for the given limit: gpt-image-2 may cost $0.2108 for a picture", nil},
	} {
		must(t, os.WriteFile(filepath.Join(folder, "main.go"), []byte(programs[i]), 0o600))
		if i == 0 {
			shell(t, folder, gateway.Address, "go mod init example.com/fox\n"+install)
		}
		if said := shell(t, folder, gateway.Address, "go run ."); !strings.Contains(said, expected.said) {
			t.Errorf("program %d did not say %q: %s", i, expected.said, said)
		}
		for _, file := range expected.files {
			if saved, _ := filepath.Glob(filepath.Join(folder, file)); len(saved) != 1 {
				t.Errorf("program %d did not save %s", i, file)
			}
		}
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

func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../../..")
	must(t, err)
	return root
}

// shell runs lines as a reader of the README would.
func shell(t *testing.T, folder, address, lines string) string {
	t.Helper()
	command := exec.Command("sh", "-ec", lines)
	command.Dir = folder
	command.Env = append(os.Environ(), "PICTOR_ADDRESS="+address, "PICTOR_API_KEY="+gatewaytest.CallerKey)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", lines, err, output)
	}
	return string(output)
}
