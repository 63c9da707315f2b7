package repotest

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

func TestNoInitFunctions(t *testing.T) {
	for _, f := range sources(t) {
		for _, d := range f.ast.Decls {
			if fn, isFunc := d.(*ast.FuncDecl); isFunc && fn.Recv == nil && fn.Name.Name == "init" && !f.test {
				t.Errorf("%s: func init: let the caller ask for it", f.pos(fn))
			}
		}
	}
}

// TestNoMutableGlobals lets a package-level variable be a table, an error or a compiled pattern: it has its value where
// it is declared, and nothing in the package assigns to it. What only exists to change (a mutex, a channel, an atomic)
// is refused by its initialiser or for want of one.
func TestNoMutableGlobals(t *testing.T) {
	packages := make(map[string][]*sourceFile)
	for _, f := range sources(t) {
		if !f.test {
			packages[f.dir] = append(packages[f.dir], f)
		}
	}
	for _, files := range packages {
		globals := make(map[string]*ast.ValueSpec)
		for _, f := range files {
			for _, spec := range globalSpecs(f) {
				for _, name := range spec.Names {
					globals[name.Name] = spec
				}
			}
		}
		for _, f := range files {
			for _, spec := range globalSpecs(f) {
				if why := mutableByNature(spec); why != "" {
					t.Errorf("%s: global %s: %s", f.pos(spec), spec.Names[0].Name, why)
				}
			}
			checkAssignments(t, f, globals)
		}
	}
}

// globalSpecs are a file's package-level variables without "var _ Interface = ..." and embedded files.
func globalSpecs(f *sourceFile) []*ast.ValueSpec {
	var specs []*ast.ValueSpec
	for _, d := range f.ast.Decls {
		gen, isGen := d.(*ast.GenDecl)
		if !isGen || gen.Tok != token.VAR {
			continue
		}
		for _, s := range gen.Specs {
			spec := s.(*ast.ValueSpec)
			if spec.Names[0].Name == "_" || embedded(gen.Doc) || embedded(spec.Doc) {
				continue
			}
			specs = append(specs, spec)
		}
	}
	return specs
}

func embedded(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, c := range doc.List {
		if strings.HasPrefix(c.Text, "//go:embed") {
			return true
		}
	}
	return false
}

func mutableByNature(spec *ast.ValueSpec) string {
	if array, isArray := spec.Type.(*ast.ArrayType); isArray && array.Len != nil && len(spec.Values) == 0 {
		return "" // zeros, which nobody may change (see below)
	}
	if len(spec.Values) == 0 {
		return "declared without a value, so it must change later; pass it as a parameter instead"
	}
	why := ""
	for _, v := range append([]ast.Expr{spec.Type}, spec.Values...) {
		if v == nil {
			continue
		}
		ast.Inspect(v, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false
			case *ast.ChanType:
				why = "a channel"
			case *ast.SelectorExpr:
				if x, isIdent := n.X.(*ast.Ident); isIdent && (x.Name == "sync" || x.Name == "atomic") {
					why = "a " + x.Name + "." + n.Sel.Name
				}
			}
			return true
		})
	}
	return why
}

// checkAssignments reports statements that change a global. Local variables of the same name are told apart by the
// parser's resolution within the file.
func checkAssignments(t *testing.T, f *sourceFile, globals map[string]*ast.ValueSpec) {
	isGlobal := func(e ast.Expr) bool {
		for {
			switch x := ast.Unparen(e).(type) {
			case *ast.IndexExpr:
				e = x.X
				continue
			case *ast.SelectorExpr:
				e = x.X
				continue
			case *ast.Ident:
				spec := globals[x.Name]
				return spec != nil && (x.Obj == nil || x.Obj.Decl == spec)
			}
			return false
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				return true
			}
			for _, l := range n.Lhs {
				if isGlobal(l) {
					t.Errorf("%s: assigns to a global", f.pos(n))
				}
			}
		case *ast.IncDecStmt:
			if isGlobal(n.X) {
				t.Errorf("%s: changes a global", f.pos(n))
			}
		}
		return true
	})
}
