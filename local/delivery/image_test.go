//go:build e2e

package delivery

import (
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// instruction is one line of a Dockerfile, with the value of ARG SERVICE filled in.
type instruction struct{ name, rest string }

// Each image's build commands run as written, in a folder that holds nothing but what the lines
// before them copied; what they build needs no more than the final image has.
func TestImagesBuildFromWhatTheyCopy(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"api", "relay", "worker", "hooks", "ctl"} {
		t.Run(program, func(t *testing.T) {
			stages := dockerfile(t, program)
			workdir := build(t, stages[0])

			final := stages[len(stages)-1]
			if last := find(final, "COPY", "--from=build /src/out/"); last == "" {
				t.Fatal("the final image does not copy what was built")
			}
			if user := find(final, "USER", ""); user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
				t.Errorf("the image runs as %q", user)
			}
			entrypoint := strings.Trim(find(final, "ENTRYPOINT", ""), `[]"`)
			needsOnlyGlibc(t, filepath.Join(workdir, "out", entrypoint))
			needsOnlyGlibc(t, filepath.Join(workdir, "out/ready"))
			refusesToStartWithoutSettings(t, filepath.Join(workdir, "out", entrypoint), program)
		})
	}
}

func TestImagesArePinnedByVersion(t *testing.T) {
	t.Parallel()
	for _, stage := range dockerfile(t, "api") {
		image, _, _ := strings.Cut(stage[0].rest, " ")
		if !pinned.MatchString(image) {
			t.Errorf("FROM %s is not pinned", image)
		}
	}
}

// dockerfile reads the root's Dockerfile as a list of stages. It knows as much of the format as that
// file uses.
func dockerfile(t *testing.T, program string) [][]instruction {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var stages [][]instruction
	for line := range strings.Lines(strings.ReplaceAll(string(text), "${SERVICE}", program)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case name == "" || name[0] == '#':
			continue
		case strings.HasSuffix(rest, `\`):
			t.Fatalf("%q: continued lines are not known here", line)
		case name == "FROM":
			stages = append(stages, nil)
		}
		stages[len(stages)-1] = append(stages[len(stages)-1], instruction{name, rest})
	}
	return stages
}

// find returns the rest of the first instruction of that name that begins so.
func find(stage []instruction, name, prefix string) string {
	for _, i := range stage {
		if i.name == name && strings.HasPrefix(i.rest, prefix) {
			return i.rest
		}
	}
	return ""
}

// build carries out a stage in a temporary folder and returns its working directory. The commands
// use this machine's Go and its caches.
func build(t *testing.T, stage []instruction) string {
	t.Helper()
	image := t.TempDir()
	workdir := image
	env := os.Environ()
	for _, i := range stage {
		words := strings.Fields(i.rest)
		switch i.name {
		case "FROM", "ARG":
		case "WORKDIR":
			workdir = filepath.Join(image, i.rest)
			if err := os.MkdirAll(workdir, 0o755); err != nil {
				t.Fatal(err)
			}
		case "ENV":
			env = append(env, words...)
		case "COPY":
			target := filepath.Join(workdir, words[len(words)-1])
			for _, source := range words[:len(words)-1] {
				copyIn(t, source, target)
			}
		case "RUN":
			command := exec.CommandContext(t.Context(), "sh", "-c", i.rest)
			command.Dir, command.Env = workdir, env
			if output, err := command.CombinedOutput(); err != nil {
				t.Fatalf("RUN %s: %v\n%s", i.rest, err, output)
			}
		default:
			t.Fatalf("%s is not known here", i.name)
		}
	}
	return workdir
}

// copyIn does what COPY does: a file goes into a target that ends in a slash or is a folder, a
// folder's content into the target. What .dockerignore leaves out does not exist.
func copyIn(t *testing.T, source, target string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, source), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		ignored, err := ignore.MatchesOrParentMatches(name)
		if err != nil || ignored {
			return err
		}
		inside, err := filepath.Rel(source, name)
		if err != nil {
			return err
		}
		if inside == "." {
			inside = filepath.Base(source)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join(target, inside)
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, content, 0o644))
	})
	if err != nil {
		t.Fatalf("COPY %s: %v", source, err)
	}
	if _, err := os.Stat(target); err != nil {
		t.Fatalf("COPY %s: nothing is left of it", source)
	}
}

var ignore = func() *patternmatcher.PatternMatcher {
	file, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		panic(err)
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		panic(err)
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		panic(err)
	}
	return matcher
}()

// needsOnlyGlibc fails if a program is linked to a library that debian's slim image lacks.
func needsOnlyGlibc(t *testing.T, program string) {
	t.Helper()
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	libraries, err := file.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	glibc := []string{"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2", "ld-linux-x86-64.so.2"}
	for _, library := range libraries {
		if !slices.Contains(glibc, library) {
			t.Errorf("%s needs %s", filepath.Base(program), library)
		}
	}
}

// refusesToStartWithoutSettings checks for exit code 2, and that every missing setting is named at once.
func refusesToStartWithoutSettings(t *testing.T, binary, program string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary)
	if program == "ctl" {
		command.Args = append(command.Args, "topic", "create", "t", "--partitions", "1")
	}
	command.Env = []string{"PATH="}
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("without settings: %v, want exit code 2\n%s", err, output)
	}
	for variable, setting := range settings(t, program) {
		if setting.Required && !strings.Contains(string(output), variable) {
			t.Errorf("%s is missing, and not named:\n%s", variable, output)
		}
	}
}
