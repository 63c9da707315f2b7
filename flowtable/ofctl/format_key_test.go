package ofctl

import (
	"strings"
	"testing"

	"weft/flowtable/flow"
	"weft/flowtable/flowtest"
)

func TestAKeyReadsBackAsTheConditionThatItMeets(t *testing.T) {
	for _, f := range flowtest.SampleFrames() {
		var k flow.Key
		flow.Extract(f, len(f), 3, flow.DepthND, &k)
		k[flow.WordReg] = 7<<32 | 9
		k[flow.WordMetadata] = 5
		text := FormatKey(&k, nil)
		filter, err := ParseFilter(text, false, nil)
		if err != nil {
			t.Errorf("% x\n%s: %v", f, text, err)
			continue
		}
		if !filter.Match.Matches(&k) || !strings.Contains(text, "reg0=0x7,reg1=0x9,metadata=0x5,in_port=3") {
			t.Errorf("% x\n%s does not match the key it was made of", f, text)
		}
	}
}
