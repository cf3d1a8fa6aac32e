package fanout

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var keyForms = []struct{ key, form string }{
	{"a", "a"},
	{"a.b.c", "a.b.c"},
	{"/services/x:1", "/services/x:1"},
	{"$SYS.REQ", "$SYS.REQ"},
	{"é", "é"},
	{"\u009b", "%C2%9B"},
	{"\u00a0", "\u00a0"},
	{"\u2028", "\u2028"},
	{"\ufffd", "\ufffd"}, // the replacement character itself is a character like others
	{"a..b", "a.%2Eb"},
	{"a...b", "a.%2E.b"},
	{".", "%2E"},
	{"..", "%2E%2E"},
	{"...", "%2E.%2E"},
	{".a", "%2Ea"},
	{"a.", "a%2E"},
	{"a..", "a.%2E"},
	{"%", "%25"},
	{"%2E", "%252E"},
	{"*", "%2A"},
	{"a.*.b", "a.%2A.b"},
	{">", "%3E"},
	{"a.>", "a.%3E"},
	{"a b", "a%20b"},
	{"a\tb\r\n", "a%09b%0D%0A"},
	{"\x00", "%00"},
	{"\x7f", "%7F"},
	{"\xff", "%FF"},
	{"\xc3.\xa9", "%C3.%A9"},      // half a character, twice
	{"\xed\xa0\x80", "%ED%A0%80"}, // a surrogate is not UTF-8
}

func TestSubjectForm(t *testing.T) {
	for _, c := range keyForms {
		if form := SubjectForm(c.key); form != c.form {
			t.Errorf("SubjectForm(%q) = %q, want %q", c.key, form, c.form)
		}
		if key, err := ParseSubjectForm(c.form); err != nil || key != c.key {
			t.Errorf("ParseSubjectForm(%q) = %q, %v, want %q", c.form, key, err, c.key)
		}
	}
	if form := SubjectForm(""); form != "" {
		t.Errorf("the form of an empty key is %q, want it empty", form)
	}
}

// literalSubject reports whether s is a subject that a NATS server takes for a
// publish, and that every client and terminal can carry.
func literalSubject(s string) bool {
	for token := range strings.SplitSeq(s, ".") {
		if token == "" {
			return false
		}
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == ' ' || r == '*' || r == '>' {
			return false
		}
	}
	return utf8.ValidString(s)
}

func FuzzSubjectForm(f *testing.F) {
	for i, c := range keyForms {
		f.Add(c.key, keyForms[len(keyForms)-1-i].key)
	}
	f.Add(strings.Repeat(".", MaxKeyBytes), strings.Repeat("\xff", MaxKeyBytes))
	f.Fuzz(func(t *testing.T, key, other string) {
		if CheckKey(key) != nil || CheckKey(other) != nil {
			return
		}
		form := SubjectForm(key)
		if back, err := ParseSubjectForm(form); err != nil || back != key {
			t.Fatalf("%q became %q, which reads as %q, %v", key, form, back, err)
		}
		if !literalSubject(form) {
			t.Fatalf("%q became %q, which is not a literal subject", key, form)
		}
		if len(form) > maxPatternBytes {
			t.Fatalf("the form of %d bytes has %d, more than a pattern may have", len(key), len(form))
		}
		if literalSubject(key) && !strings.Contains(key, "%") && form != key {
			t.Fatalf("%q is a valid subject and became %q", key, form)
		}
		if otherForm := SubjectForm(other); (form == otherForm) != (key == other) {
			t.Fatalf("%q and %q became %q and %q", key, other, form, otherForm)
		}
	})
}

// FuzzParseSubjectForm: a key has one form, so of two texts that mean the same
// key at least one is refused.
func FuzzParseSubjectForm(f *testing.F) {
	for _, c := range keyForms {
		f.Add(c.form)
		f.Add(c.key)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, err := ParseSubjectForm(s)
		if err != nil {
			if !errors.Is(err, ErrBadKey) {
				t.Fatalf("ParseSubjectForm(%q): %v does not wrap ErrBadKey", s, err)
			}
			return
		}
		if err := CheckKey(key); err != nil {
			t.Fatalf("ParseSubjectForm(%q) = %q: %v", s, key, err)
		}
		if form := SubjectForm(key); form != s {
			t.Fatalf("ParseSubjectForm(%q) = %q, whose form is %q", s, key, form)
		}
	})
}

func TestParseSubjectFormRefuses(t *testing.T) {
	for _, c := range []struct{ form, mend string }{
		{"", "1 to 1024 bytes"},
		{strings.Repeat("a", MaxKeyBytes+1), "the limit is 1024"},
		{"%41", `write "A"`},
		{"a%2Eb", `write "a.b"`},
		{"a..b", `write "a.%2Eb"`},
		{".a", `write "%2Ea"`},
		{"a.", `write "a%2E"`},
		{"a b", `write "a%20b"`},
		{"a.*", `write "a.%2A"`},
		{">", `write "%3E"`},
		{"\xff", `write "%FF"`},
		{"%2a", "upper-case"},
		{"%", "%25"},
		{"a%", "%25"},
		{"%2", "%25"},
		{"%zz", "%25"},
	} {
		_, err := ParseSubjectForm(c.form)
		if !errors.Is(err, ErrBadKey) || !strings.Contains(err.Error(), c.mend) {
			t.Errorf("ParseSubjectForm(%.20q): %v, want ErrBadKey that says %s", c.form, err, c.mend)
		}
	}
}

func TestCheckKey(t *testing.T) {
	for key, good := range map[string]bool{
		"":                                 false,
		"\x00":                             true,
		strings.Repeat("a", MaxKeyBytes):   true,
		strings.Repeat("a", MaxKeyBytes+1): false,
	} {
		if err := CheckKey(key); (err == nil) != good || (err != nil && !errors.Is(err, ErrBadKey)) {
			t.Errorf("CheckKey of %d bytes: %v", len(key), err)
		}
	}
}

func TestSubjectFormAllocates(t *testing.T) {
	var sink string
	for _, c := range []struct {
		key  string
		want float64
	}{
		{"/services/x:1.config.é.color", 0},
		{"a b", 2}, // the bytes and the string of them
	} {
		if n := testing.AllocsPerRun(100, func() { sink = SubjectForm(c.key) }); n > c.want {
			t.Errorf("SubjectForm(%q) allocates %v times, want at most %v", c.key, n, c.want)
		}
	}
	_ = sink
}
