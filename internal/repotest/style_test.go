package repotest

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// Sizes that a reader can hold in mind.
const (
	maxFileLines     = 600
	maxFunctionLines = 60
	maxHotLines      = 110 // an rx or tx burst is one loop, better read in one piece
	maxLineLength    = 130 // 120 is what to aim at
	minPictureLines  = 2
)

// hotFiles hold the loops over a batch.
var hotFiles = map[string]bool{"rx.go": true, "tx.go": true, "datapath.go": true, "lookup.go": true}

func TestEveryPackageHasADocWithAPicture(t *testing.T) {
	packages := make(map[string]*sourceFile) // directory -> its doc.go, nil without one
	for _, f := range sources(t) {
		if filepath.Base(f.path) == "doc.go" {
			packages[f.dir] = f
		} else if packages[f.dir] == nil {
			packages[f.dir] = nil
		}
	}
	for dir, doc := range packages {
		if doc == nil {
			t.Errorf("%s: no doc.go", dir)
			continue
		}
		if doc.ast.Doc == nil {
			t.Errorf("%s: no package comment", doc.path)
			continue
		}
		if n := pictureLines(doc.ast.Doc); n < minPictureLines {
			t.Errorf("%s: %d lines of picture in the package comment, want %d: indent them with a tab", doc.path, n,
				minPictureLines)
		}
	}
}

// pictureLines counts lines that gofmt leaves as they are and that have something drawn in them.
func pictureLines(doc *ast.CommentGroup) int {
	n := 0
	for _, c := range doc.List {
		if strings.HasPrefix(c.Text, "//\t") && strings.ContainsAny(c.Text[2:], "+-|<>=") {
			n++
		}
	}
	return n
}

func TestSizes(t *testing.T) {
	for _, f := range sources(t) {
		if f.generated() {
			continue
		}
		for i, line := range f.lines {
			if utf8.RuneCountInString(line) > maxLineLength {
				t.Errorf("%s:%d: line of %d characters, at most %d", f.path, i+1, utf8.RuneCountInString(line), maxLineLength)
			}
		}
		if f.test {
			continue
		}
		if n := len(f.lines) - 1; n > maxFileLines {
			t.Errorf("%s: %d lines, at most %d", f.path, n, maxFileLines)
		}
		limit := maxFunctionLines
		if hotFiles[filepath.Base(f.path)] {
			limit = maxHotLines
		}
		for _, d := range f.ast.Decls {
			fn, isFunc := d.(*ast.FuncDecl)
			if !isFunc || fn.Body == nil {
				continue
			}
			if n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1; n > limit {
				t.Errorf("%s: %s has %d lines, at most %d", f.pos(fn), fn.Name.Name, n, limit)
			}
		}
	}
}

func TestMakefileExplainsEveryTarget(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	target := regexp.MustCompile(`^([a-z][a-z0-9-]*):($|[^=])`)
	found := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		m := target.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		found[m[1]] = true
		if !strings.Contains(line, "## ") {
			t.Errorf("Makefile: target %s has no ## comment", m[1])
		}
	}
	for _, name := range []string{"help", "demo", "test", "test-fast", "bench", "lint", "fuzz", "build", "generate"} {
		if !found[name] {
			t.Errorf("Makefile: no target %s", name)
		}
	}
}

// TestNoPathOfABuildMachine looks for directories that exist only where the code was written.
func TestNoPathOfABuildMachine(t *testing.T) {
	forbidden := []string{"/wor" + "k/", "/hom" + "e/", "/tmp/" + "w/"}
	err := walk(func(path string) error {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return err
		}
		for _, word := range forbidden {
			if before, _, has := strings.Cut(string(text), word); has {
				t.Errorf("%s:%d: names the path %s of a build machine", path, strings.Count(before, "\n")+1, word)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
