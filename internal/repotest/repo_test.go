package repotest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// root is the repository, seen from this package.
const root = "../.."

// module is the path of this module, as go.mod has it.
const module = "weft"

// sourceFile is one parsed Go file.
type sourceFile struct {
	path  string // from the root, with slashes
	dir   string
	test  bool
	lines []string
	fset  *token.FileSet
	ast   *ast.File
}

func (f *sourceFile) pos(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

// generated says whether the file is the work of a generator, whose rules are its own.
func (f *sourceFile) generated() bool { return ast.IsGenerated(f.ast) }

// unsafeName says whether the file's name announces unsafe code.
func (f *sourceFile) unsafeName() bool {
	return strings.HasSuffix(f.path, "_unsafe.go") || strings.HasSuffix(f.path, "_unsafe_test.go")
}

// parsed reads the repository once for all tests.
var parsed = sync.OnceValues(func() ([]*sourceFile, error) {
	var files []*sourceFile
	err := walk(func(path string) error {
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, &sourceFile{
			path: path, dir: filepath.ToSlash(filepath.Dir(path)), test: strings.HasSuffix(path, "_test.go"),
			lines: strings.Split(string(text), "\n"), fset: fset, ast: parsed,
		})
		return nil
	})
	return files, err
})

func sources(t *testing.T) []*sourceFile {
	t.Helper()
	files, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// walk visits every file of the repository, leaving out git's own, build output and fuzzing corpora.
func walk(visit func(path string) error) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == ".git" || rel == "bin" || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return visit(rel)
	})
}
