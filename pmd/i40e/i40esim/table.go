package i40esim

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The register tables as text, one register a line (see their heads for the columns).
var (
	//go:embed registers.tsv
	pfRegisterText string
	//go:embed registers-dump.tsv
	dumpRegisterText string
	//go:embed registers-vf.tsv
	vfRegisterText string
)

// Access is how a register takes reads and writes.
type Access string

// The kinds of access in the register tables.
const (
	ReadWrite     Access = "rw"
	ReadOnly      Access = "ro"  // a write is a violation
	ReadClears    Access = "rc"  // a read takes the bits with it; a write is a violation
	OnesClear     Access = "w1c" // a write clears the bits that are one in it
	WriteClears   Access = "wc"  // any write clears
	dumpRegisters Access = "dump"
)

// ResetLevel is the smallest reset that gives a register its reset value back (datasheet, "Reset operation").
type ResetLevel uint8

// The resets from the smallest to the largest. A larger one does what those before it do.
const (
	LevelVFR ResetLevel = iota
	LevelPFR
	LevelFLR
	LevelCORER
	LevelGLOBR
	LevelEMPR
	LevelPCIR
	LevelPOR
)

var levelNames = [...]string{"vfr", "pfr", "flr", "corer", "globr", "empr", "pcir", "por"}

func (l ResetLevel) String() string { return levelNames[l] }

// Register is one row of a register table.
type Register struct {
	Name   string
	Offset uint32
	// Count and Stride (bytes) of up to two dimensions; a count of one is no dimension.
	Count, Stride [2]uint32
	Access        Access
	Level         ResetLevel
	Reset         uint32 // value after Level
	Mask          uint32 // bits that a write changes
	Description   string
	// Alias is the PF register behind a VF's, by name; empty in the PF's table.
	Alias string
}

// Label names one register of the row, as the trace does.
func (r *Register) Label(index uint32) string {
	i, j := index%r.Count[0], index/r.Count[0]
	switch {
	case r.Count[1] > 1:
		return fmt.Sprintf("%s[%d,%d]", r.Name, i, j)
	case r.Count[0] > 1:
		return fmt.Sprintf("%s[%d]", r.Name, i)
	}
	return r.Name
}

// At is the offset of one register of the row.
func (r *Register) At(i, j uint32) uint32 { return r.Offset + i*r.Stride[0] + j*r.Stride[1] }

// table finds registers by offset. Pages of it that have no register are nil.
type table struct {
	rows   []Register
	byName map[string]int
	pages  [][]cell
}

// cell is one 32-bit place of a BAR: the row in the table, from 1, and the index in the row.
type cell struct{ row, index uint16 }

const pageWords = 1024 // 32-bit words of a page of a table or a register file

// PFRegisters returns the register table of the PF's BAR 0.
func PFRegisters() ([]Register, error) {
	rows, err := parseTable(pfRegisterText)
	if err != nil {
		return nil, err
	}
	dump, err := parseTable(dumpRegisterText)
	return append(rows, dump...), err
}

// VFRegisters returns the register table of the VF's BAR 0.
func VFRegisters() ([]Register, error) { return parseTable(vfRegisterText) }

func parseTable(text string) ([]Register, error) {
	var rows []Register
	for n, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		r, err := parseRow(line)
		if err != nil {
			return nil, fmt.Errorf("i40esim: register table, line %d: %w", n+1, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func parseRow(line string) (Register, error) {
	f := strings.Fields(line)
	if len(f) < 11 {
		return Register{}, fmt.Errorf("%d columns instead of 11: %q", len(f), line)
	}
	r := Register{Name: f[0], Access: Access(f[6]), Description: strings.Join(f[10:], " ")}
	for i, to := range map[int]*uint32{
		1: &r.Offset, 2: &r.Count[0], 3: &r.Stride[0], 4: &r.Count[1], 5: &r.Stride[1], 8: &r.Reset, 9: &r.Mask,
	} {
		v, err := strconv.ParseUint(f[i], 0, 32)
		if err != nil {
			return r, fmt.Errorf("column %d: %w", i+1, err)
		}
		*to = uint32(v)
	}
	level := slices.Index(levelNames[:], f[7])
	if level < 0 {
		return r, fmt.Errorf("reset %q is not one of %v", f[7], levelNames)
	}
	r.Level = ResetLevel(level)
	switch r.Access {
	case ReadWrite, ReadOnly, ReadClears, OnesClear, WriteClears, dumpRegisters:
	default:
		return r, fmt.Errorf("access %q is not known", r.Access)
	}
	if strings.HasPrefix(r.Description, "=") {
		alias, rest, _ := strings.Cut(r.Description[1:], " ")
		r.Alias, r.Description = alias, rest
	}
	return r, nil
}

// newTable indexes rows for a BAR of size bytes.
func newTable(rows []Register, size uint32) (*table, error) {
	t := &table{rows: rows, byName: make(map[string]int, len(rows)), pages: make([][]cell, size/4/pageWords)}
	for n := range rows {
		r := &rows[n]
		if _, twice := t.byName[r.Name]; twice {
			return nil, fmt.Errorf("i40esim: register %s is in the table twice", r.Name)
		}
		t.byName[r.Name] = n
		for index := range r.Count[0] * r.Count[1] {
			if err := t.place(n, index, size); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func (t *table) place(row int, index, size uint32) error {
	r := &t.rows[row]
	offset := r.At(index%r.Count[0], index/r.Count[0])
	if offset%4 != 0 || offset >= size {
		return fmt.Errorf("i40esim: register %s at %#x is not inside the BAR", r.Label(index), offset)
	}
	page, word := offset/4/pageWords, offset/4%pageWords
	if t.pages[page] == nil {
		t.pages[page] = make([]cell, pageWords)
	}
	c := &t.pages[page][word]
	if c.row != 0 {
		other := &t.rows[c.row-1]
		return fmt.Errorf("i40esim: registers %s and %s share offset %#x",
			r.Label(index), other.Label(uint32(c.index)), offset)
	}
	*c = cell{uint16(row + 1), uint16(index)}
	return nil
}

// find returns the register at an offset that is a multiple of 4, and its index in the row; nil when there is none.
func (t *table) find(offset uint32) (row int, index uint32, found bool) {
	page := offset / 4 / pageWords
	if int(page) >= len(t.pages) || t.pages[page] == nil {
		return 0, 0, false
	}
	c := t.pages[page][offset/4%pageWords]
	if c.row == 0 {
		return 0, 0, false
	}
	return int(c.row - 1), uint32(c.index), true
}

// file is the content of a BAR's registers. Pages never written read as zero.
type file struct{ pages [][]uint32 }

func newFile(size uint32) *file { return &file{make([][]uint32, size/4/pageWords)} }

func (f *file) load(offset uint32) uint32 {
	page := f.pages[offset/4/pageWords]
	if page == nil {
		return 0
	}
	return page[offset/4%pageWords]
}

func (f *file) store(offset, v uint32) {
	page := &f.pages[offset/4/pageWords]
	if *page == nil {
		*page = make([]uint32, pageWords)
	}
	(*page)[offset/4%pageWords] = v
}
