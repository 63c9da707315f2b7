package sys

import "testing"

func TestPopulateMakesPagesResident(t *testing.T) {
	b, err := MapAnonymous(16 * PageSize())
	if err != nil {
		t.Fatal(err)
	}
	if err := Populate(b); err != nil {
		t.Fatal(err)
	}
	if err := AdviseHuge(b); err != nil {
		t.Log("transparent hugepages: ", err) // a kernel may be built without
	}
	if err := Unmap(b); err != nil {
		t.Fatal(err)
	}
	if err := Unmap(b); err == nil {
		t.Error("the mapping could be unmapped twice")
	}
}

func TestBindMemoryRefusesNodesThatCannotBe(t *testing.T) {
	b, err := MapAnonymous(PageSize())
	if err != nil {
		t.Fatal(err)
	}
	defer Unmap(b)
	for _, node := range []int{-1, maxNode + 1, maxNode} {
		if err := BindMemory(b, node, true); err == nil {
			t.Errorf("memory was bound to node %d", node)
		}
	}
	if err := BindMemory(nil, 0, true); err != nil {
		t.Errorf("no memory at all: %v", err)
	}
}

func TestMapHugeGivesMemoryOrAnError(t *testing.T) {
	const size = 2 << 20
	b, err := MapHuge(size, size)
	if err != nil {
		t.Log(err) // no hugepages are reserved here
		return
	}
	if len(b) != size {
		t.Errorf("%d bytes, want %d", len(b), size)
	}
	if err := Unmap(b); err != nil {
		t.Error(err)
	}
}
