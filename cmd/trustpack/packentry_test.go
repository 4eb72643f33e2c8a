package main

import "testing"

// TestEntryIndex: evidence writes an index with zeros before it, which do not
// make it octal.
func TestEntryIndex(t *testing.T) {
	var i entryIndex
	if err := i.Set("00000204"); err != nil || i != 204 || i.String() != "204" {
		t.Errorf("%d, %v", i, err)
	}
	for _, s := range []string{"", "-1", "0x10", "1_0", "9223372036854775808", "control/3"} {
		if err := i.Set(s); err == nil {
			t.Errorf("%q is taken for %d", s, i)
		}
	}
}

// TestEntryText: only a terminal is kept from what an entry would have it do.
func TestEntryText(t *testing.T) {
	const entry = "{\"a\":\"\u202e\u009b2J\"}"
	if got := string(entryText([]byte(entry), false)); got != entry {
		t.Errorf("%q", got)
	}
	if got := string(entryText([]byte(entry), true)); got != `{"a":"\u202e\u009b2J"}`+"\n" {
		t.Errorf("%q", got)
	}
}
