package repotest

import (
	"go/ast"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestUnsafeOnlyInFilesThatSaySo(t *testing.T) {
	for _, f := range sources(t) {
		if f.unsafeName() {
			continue
		}
		for _, spec := range f.ast.Imports {
			if spec.Path.Value == `"unsafe"` || spec.Path.Value == `"C"` {
				t.Errorf("%s: imports %s; move it to a file named *_unsafe.go", f.pos(spec), spec.Path.Value)
			}
		}
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:linkname") {
					t.Errorf("%s: go:linkname outside a file named *_unsafe.go", f.pos(c))
				}
			}
		}
		for _, d := range f.ast.Decls {
			if fn, isFunc := d.(*ast.FuncDecl); isFunc && fn.Body == nil {
				t.Errorf("%s: %s is written in assembly; declare it in a file named *_unsafe.go", f.pos(fn), fn.Name.Name)
			}
		}
	}
}

func TestAssemblyHasItsDeclarationsBesideIt(t *testing.T) {
	have := make(map[string]bool)
	for _, f := range sources(t) {
		have[f.path] = true
	}
	err := walk(func(path string) error {
		if filepath.Ext(path) != ".s" {
			return nil
		}
		if want := strings.TrimSuffix(path, ".s") + "_unsafe.go"; !have[want] {
			t.Errorf("%s: its functions are to be declared in %s, which does not exist", path, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestUnsafeCodeSaysWhyItIsSafe wants a "SAFETY:" line in every function of an unsafe file that makes memory out of an
// address: unsafe.Add, Slice and String, and conversions to a pointer type. Sizes, offsets and the way back are harmless.
func TestUnsafeCodeSaysWhyItIsSafe(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || !f.unsafeName() {
			continue
		}
		for _, d := range f.ast.Decls {
			var use ast.Node
			ast.Inspect(d, func(n ast.Node) bool {
				if call, isCall := n.(*ast.CallExpr); isCall && use == nil && makesMemory(call) {
					use = call
				}
				return true
			})
			if use != nil && !hasSafety(f, d) {
				t.Errorf("%s: unsafe code without a // SAFETY: line in its function", f.pos(use))
			}
		}
	}
}

func makesMemory(call *ast.CallExpr) bool {
	switch fun := ast.Unparen(call.Fun).(type) {
	case *ast.SelectorExpr:
		x, isIdent := fun.X.(*ast.Ident)
		return isIdent && x.Name == "unsafe" && slices.Contains([]string{"Add", "Slice", "String"}, fun.Sel.Name)
	case *ast.StarExpr:
		return true
	}
	return false
}

func hasSafety(f *sourceFile, d ast.Decl) bool {
	from := d.Pos()
	if fn, isFunc := d.(*ast.FuncDecl); isFunc && fn.Doc != nil {
		from = fn.Doc.Pos()
	}
	if gen, isGen := d.(*ast.GenDecl); isGen && gen.Doc != nil {
		from = gen.Doc.Pos()
	}
	for _, group := range f.ast.Comments {
		if group.Pos() >= from && group.End() <= d.End() && strings.Contains(group.Text(), "SAFETY:") {
			return true
		}
	}
	return false
}

// TestRawSystemCallsOnlyInSys keeps numbers and untyped arguments in one place, where they are reviewed as such.
func TestRawSystemCallsOnlyInSys(t *testing.T) {
	raw := []string{
		"Syscall", "Syscall6", "Syscall9", "SyscallN", "SyscallNoError", "RawSyscall", "RawSyscall6",
		"RawSyscallNoError", "RawVforkSyscall",
	}
	for _, f := range sources(t) {
		if f.dir == "internal/sys" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, isSel := n.(*ast.SelectorExpr)
			if !isSel {
				return true
			}
			x, isIdent := sel.X.(*ast.Ident)
			if isIdent && (x.Name == "unix" || x.Name == "syscall") && slices.Contains(raw, sel.Sel.Name) {
				t.Errorf("%s: %s.%s belongs in internal/sys", f.pos(sel), x.Name, sel.Sel.Name)
			}
			return true
		})
	}
}
