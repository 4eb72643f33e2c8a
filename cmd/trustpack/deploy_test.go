package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDeployExamples holds the unit and the container file to the program:
// what they run exists, and they end it in the way in which it drains.
func TestDeployExamples(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join("..", "..", "examples", "deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	takes := func(what string, args []string) {
		t.Helper()
		if out, err := exec.Command("trustpack", append(args, "--help")...).CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "Runs the ingest on the addresses") {
			t.Errorf("%s runs %q: %v\n%s", what, args, err, out)
		}
	}
	unit := map[string]string{}
	for _, line := range strings.Split(read("trustpack-ingest.service"), "\n") {
		if key, value, ok := strings.Cut(line, "="); ok {
			unit[key] = value
		}
	}
	run := strings.Fields(unit["ExecStart"])
	if len(run) < 3 || filepath.Base(run[0]) != "trustpack" {
		t.Fatalf("ExecStart=%s", unit["ExecStart"])
	}
	takes("the unit", run[1:])
	if signal := unit["KillSignal"]; signal != "" && signal != "SIGTERM" && signal != "SIGINT" {
		t.Errorf("KillSignal=%s does not drain", signal)
	}
	if reload := unit["ExecReload"]; !strings.Contains(reload, "HUP") {
		t.Errorf("ExecReload=%s", reload)
	}
	container := read("Containerfile")
	entry := regexp.MustCompile(`(?m)^ENTRYPOINT (\[.*\])$`).FindStringSubmatch(container)
	if entry == nil {
		t.Fatal("the container file has no ENTRYPOINT in the form of a list, so no signal would reach the program")
	}
	var args []string
	if err := json.Unmarshal([]byte(entry[1]), &args); err != nil {
		t.Fatal(err)
	}
	if command := regexp.MustCompile(`(?m)^CMD (\[.*\])$`).FindStringSubmatch(container); command != nil {
		var more []string
		if err := json.Unmarshal([]byte(command[1]), &more); err != nil {
			t.Fatal(err)
		}
		args = slices.Concat(args, more)
	}
	takes("the container", args[1:])
}
