package attack

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"chatsecure/crypto"
	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/history"
	"chatsecure/internal/relay"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

// These tests hold the tables and field lists of PROTOCOL.md against the code.
// The second client shows that the text is enough to talk.

// root is the directory of go.mod. All paths of these tests begin there.
const root = "../.."

// pages are the parts of PROTOCOL.md that are files of their own.
var pages = []string{"doc/certificates.md", "doc/names.md", "doc/state.md"}

// protocolText returns PROTOCOL.md and its pages.
func protocolText(t *testing.T) string {
	t.Helper()
	var texts []string
	for _, name := range append([]string{"PROTOCOL.md"}, pages...) {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if texts = append(texts, string(text)); !strings.Contains(texts[0], "]("+name+")") && name != "PROTOCOL.md" {
			t.Errorf("PROTOCOL.md does not name %s", name)
		}
	}
	return strings.Join(texts, "\n")
}

// protocolTable returns the rows of the first table below a heading, without the table's header.
func protocolTable(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	_, section, ok := strings.Cut(protocolText(t), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("PROTOCOL.md has no heading %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if rows != nil {
				break
			}
			continue
		}
		var row []string
		for _, cell := range strings.Split(strings.Trim(line, "|"), "|") {
			row = append(row, strings.TrimSpace(cell))
		}
		rows = append(rows, row)
	}
	if len(rows) < 3 {
		t.Fatalf("no table below %q", heading)
	}
	return rows[2:]
}

var protocolWord = regexp.MustCompile("`([^`]+)`")

// protocolWords returns the words in backquotes.
func protocolWords(s string) (words []string) {
	for _, m := range protocolWord.FindAllStringSubmatch(s, -1) {
		words = append(words, m[1])
	}
	return words
}

func TestProtocolErrorCodes(t *testing.T) {
	told := map[proto.Code]string{}
	for _, row := range protocolTable(t, "## Error codes") {
		for _, code := range protocolWords(row[0]) {
			if _, twice := told[proto.Code(code)]; twice {
				t.Errorf("%s stands in the table twice", code)
			}
			told[proto.Code(code)] = row[2]
		}
	}
	for code, entry := range fail.Codes {
		want := strconv.Itoa(entry.Exit)
		if code == proto.History {
			want = "1, 8" // ExitStatus tells the two apart
		}
		if told[code] != want {
			t.Errorf("%s: the exit status in PROTOCOL.md is %q, in the code %q", code, told[code], want)
		}
		delete(told, code)
	}
	for code := range told {
		t.Errorf("%s is no code", code)
	}
}

func TestProtocolSuites(t *testing.T) {
	var names []string
	for _, row := range protocolTable(t, "## Suites") {
		names = append(names, protocolWords(row[0])...)
	}
	if !slices.Equal(names, crypto.SuiteNames()) {
		t.Errorf("the suites in PROTOCOL.md are %q", names)
	}
}

func TestProtocolLimits(t *testing.T) {
	size := func(n int) string {
		if n%(1<<20) == 0 {
			return fmt.Sprintf("%d MiB", n>>20)
		}
		return fmt.Sprintf("%d KiB", n>>10)
	}
	count := func(n int) string {
		if n < 1000 {
			return strconv.Itoa(n)
		}
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	const header, batch = 8 << 10, 1024
	checkMessageBounds(t, header, batch)
	want := map[string]string{
		"line":                     size(proto.MaxLine) + "; " + size(proto.MaxHandshakeLine) + " until the handshake is over",
		"body of a client-connect": size(proto.MaxHandshakeLine),
		"blank lines on end":       count(proto.MaxBlankLines),
		"records of a message, or a pipe chunk, before sealing": size(proto.MaxBody),
		"header of a message":                   size(header),
		"records of a message":                  count(batch),
		"text of a record":                      size(proto.MaxText),
		"recipients of a record":                count(proto.MaxRecipients),
		"bundle":                                fmt.Sprintf("%d certificates with the leaf, %s of DER", trust.MaxCertificates, size(trust.MaxChainBytes)),
		"suites offered":                        count(proto.MaxCiphers),
		"letter":                                size(proto.MaxLetter),
		"records or receipts of a letter":       count(crypto.MaxLetterEntries),
		"mailboxes of an answer to `letter-to`": count(proto.MaxMailboxesTo),
		"mailboxes that a connection collects":  count(proto.MaxCollects),
		"mailboxes of one person at a relay": fmt.Sprintf("%d that take texts, as many that are superseded, %d that take receipts alone; "+
			"then the one with the oldest delegation goes, with its letters", proto.MaxMailboxesTo, relay.ReceiptBoxes),
		"letters in a mailbox, each counted as " + size(relay.LetterLeast) + " at least": fmt.Sprintf(
			"%s of texts, %s of receipts; of one person a %s of what is left of that, at most %s; then `mailbox-full`",
			size(relay.BoxMax), size(relay.BoxMaxReceipts), map[int]string{4: "quarter"}[relay.RestPart], size(relay.BoxPart)),
		"letters of one person at a relay": fmt.Sprintf("a %s of what is left of all that it keeps, an %s of which is for receipts; then `busy`",
			map[int]string{4: "quarter"}[relay.RestPart], map[int]string{8: "eighth"}[relay.ReceiptsPart]),
		"mailboxes that one person makes or names anew at a relay": count(relay.BoxesAtOnce) + " at once and one in " +
			map[time.Duration]string{10 * time.Second: "ten seconds"}[relay.BoxEvery] + "; beyond that each stays as it is",
		"letters that one person leaves": fmt.Sprintf("%s at once and %d a second; then `busy`", count(relay.LettersAtOnce), relay.LettersASecond),
		"un-acked bodies for one destination": fmt.Sprintf("%s in %s messages, or one message",
			size(proto.RelayWindow), count(proto.RelayMessages)),
		"sent and not delivered in a conversation":                      fmt.Sprintf("%s records, %s", count(client.MaxUnackedRecords), size(client.MaxUnackedBytes)),
		"sent and not read in a conversation":                           size(client.MaxUnread),
		"handshakes that others began with a client and have not ended": count(client.MaxHalfOpen) + "; then the oldest of the person that has most is dropped",
		"handshakes that a connection begins with a client": count(client.OfferBurst) + " at once, then one " +
			map[time.Duration]string{time.Second: "a second"}[client.OfferEvery] + "; more get no answer",
		"handshakes begun with a client, over all connections: of a person whom the user has not accepted, by certificate, " +
			"once proved; of a name, when they fail before that": fmt.Sprintf("%d at once, then %s a second; then `busy`",
			client.CallerBurst, map[int]string{4: "four"}[int(time.Second/client.CallerEvery)]),
		"handshakes that wait at a client to be looked at": count(client.MaxQueued) + " of people whom the user has accepted or written to, " + count(client.MaxQueued) +
			" of others; then the last of the name with most gets `busy`",
		"lines that wait at a client for such a look": size(client.MaxHeld) + "; then the connection with most is given up, of people whom the user has not accepted first",
		"sentence of an error":                        size(proto.MaxMessage),
		"code of an error":                            fmt.Sprintf("%d bytes", proto.MaxCode),
		"handshake":                                   fmt.Sprintf("%d s", proto.HandshakeTimeout/time.Second),
		"failed handshakes of one address (IPv6: a /64)": fmt.Sprintf("%d at once and %d a second, one with an RSA key counts %d; beyond that all others come first, and RSA is `busy`",
			relay.MaxFailures, time.Second/relay.FailureEvery, relay.RSAFailure),
		"handshakes under way": fmt.Sprintf("%s, of one address %s, of all addresses with too many failures %d; then who waits longest gets `busy`, or the newcomer",
			count(relay.MaxHalfOpen), count(relay.MaxHalfOpenAddr), relay.MaxHalfOpen/relay.DebtorsPart),
		"connections of one person": count(relay.MaxOfPerson) + "; then `busy`",
		"requests of one person": fmt.Sprintf("%s at once and %s a second, counted in connections listed; each request counts %d more, a mailbox in an answer %d, a release %d and a %s of the relay's names; then `busy`",
			count(relay.Budget), count(relay.BudgetRate), relay.RequestCost, relay.BoxCost, relay.ReleaseCost, map[int]string{10: "tenth"}[relay.ReleaseNames]),
		"kept of a person who is accepted under no name, until then": fmt.Sprintf(
			"%d records, and %s of lines of the history that the person causes; then a p1 is refused with `not-accepted`",
			client.StrangerRecords, size(client.StrangerBytes)),
		"kept in a day (UTC) of all such people": fmt.Sprintf("%s records, %s of lines; then the same", count(client.StrangersRecords), size(client.StrangersBytes)),
		"received and not read, of all people":   size(client.MaxAllUnread) + "; then a p1 of a person who has more than is left gets `busy`",
		"delegation":                             fmt.Sprintf("%d h", trust.MaxDelegation/time.Hour),
		"mailbox":                                fmt.Sprintf("%d days from the begin of the delegation", trust.MaxMailbox/(24*time.Hour)),
	}
	got := map[string]string{}
	for _, row := range protocolTable(t, "## Limits") {
		got[row[0]] = row[1]
	}
	if !maps.Equal(got, want) {
		t.Errorf("the limits in PROTOCOL.md are\n%q, in the code\n%q", got, want)
	}
	text := strings.Join(strings.Fields(protocolText(t)), " ") // wherever its lines break
	for _, sentence := range []string{
		fmt.Sprintf("for %d s or has %s waiting", proto.StalledAfter/time.Second, size(proto.MaxQueue)),
		fmt.Sprintf("more than %s on the way to one that has %s waiting", size(relay.Hog), size(relay.Crowded)),
		fmt.Sprintf("more than %s destinations", count(relay.MaxRoutes)),
		fmt.Sprintf("at most %s a page", count(proto.ListPage)),
		fmt.Sprintf("at most %d names", proto.MaxWatches),
		fmt.Sprintf("after %d s of silence; %d s without", proto.KeepAlive/time.Second, proto.LostAfter/time.Second),
		fmt.Sprintf("A client without an ack for %d s", proto.AckTimeout/time.Second),
		fmt.Sprintf("without an answer for %d s", proto.PhaseTimeout/time.Second),
		fmt.Sprintf("bytes, at most %s |", size(client.PipeChunk)),
		fmt.Sprintf("At most %s are sent beyond the credit", size(client.PipeWindow)),
		fmt.Sprintf("Credit follows every %s ", size(client.PipeWindow/4)),
		fmt.Sprintf("canonical JSON of at most %s and a newline", size(history.MaxLine)),
		fmt.Sprintf("a final newline, at most %s:", size(history.MaxProof)),
	} {
		if !strings.Contains(text, sentence) {
			t.Errorf("PROTOCOL.md does not say %q", sentence)
		}
	}
}

// checkMessageBounds tries the bounds of a message's header.
func checkMessageBounds(t *testing.T, header, batch int) {
	t.Helper()
	h := crypto.MessageHeader{
		Conversation: make([]byte, 32), Direction: crypto.DirectionAB, Kind: crypto.KindText, Random: make([]byte, 32),
		Step:      &crypto.Step{Enc: []byte{}, Key: []byte{}},
		SrcBundle: make([]byte, 32), DstBundle: make([]byte, 32), Seq: 1, Count: uint64(batch), Digest: make([]byte, 32),
	}
	try := func() (int, error) {
		b := proto.MustMarshal(&h)
		_, err := crypto.ParseMessageHeader(b)
		return len(b), err
	}
	if _, err := try(); err != nil {
		t.Errorf("a message of %d records: %v", batch, err)
	}
	h.Count++
	if _, err := try(); err == nil {
		t.Errorf("a message of %d records is taken", batch+1)
	}
	h.Count--
	n, err := try()
	if err != nil {
		t.Fatal(err)
	}
	h.Step.Enc = make([]byte, (header-n)/4*3)
	if n, err = try(); err != nil || n <= header-4 {
		t.Errorf("a header of %d bytes: %v", n, err)
	}
	h.Step.Key = make([]byte, 3)
	if n, err = try(); err == nil || n > header+4 {
		t.Errorf("a header of %d bytes: %v", n, err)
	}
}

// jsonKeys returns the names of a struct's JSON fields, in order. It enters inner structs, except
// bundles, steps and times.
func jsonKeys(typ reflect.Type) (keys []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.Anonymous {
			keys = append(keys, name)
		}
		if inner.Kind() == reflect.Struct && (f.Anonymous || inner != reflect.TypeFor[trust.Bundle]()) &&
			inner != reflect.TypeFor[crypto.Step]() && inner != reflect.TypeFor[time.Time]() {
			keys = append(keys, jsonKeys(inner)...)
		}
	}
	return keys
}

var (
	protocolObject = regexp.MustCompile(`(?s)(?:\x60|\n    )(\{".*?)(?:\x60|\n\n)`)
	protocolKey    = regexp.MustCompile(`(^|[^:])"([a-z0-9_-]+)"`)
)

// protocolObjects returns the keys of each JSON object in PROTOCOL.md.
func protocolObjects(t *testing.T) (objects [][]string) {
	t.Helper()
	for _, m := range protocolObject.FindAllStringSubmatch(protocolText(t), -1) {
		var keys []string
		for _, k := range protocolKey.FindAllStringSubmatch(m[1], -1) {
			keys = append(keys, k[2])
		}
		objects = append(objects, keys)
	}
	return objects
}

func TestProtocolFields(t *testing.T) {
	objects := protocolObjects(t)
	check := func(what string, keys []string) {
		if !slices.ContainsFunc(objects, func(o []string) bool { return slices.Equal(o, keys) }) {
			t.Errorf("PROTOCOL.md shows no object with the fields of %s: %q", what, keys)
		}
	}
	for _, v := range []any{
		proto.Connect1{}, proto.Connect2{}, proto.Connect3{}, proto.Connect4{}, proto.ClearError{}, proto.Listed{},
		crypto.Hello{}, trust.Bundle{}, crypto.MessageHeader{},
		crypto.Step{}, crypto.Record{}, crypto.Recipient{}, crypto.Receipt{},
		crypto.LetterOutside{}, crypto.LetterHeader{}, crypto.LetterReceiptEntry{}, crypto.LetterBox{},
		history.End{}, history.Proof{}, state.KnownRelay{}, state.KnownPeer{},
	} {
		typ := reflect.TypeOf(v)
		check(typ.Name(), jsonKeys(typ))
	}

	var random [proto.RandomSize]byte
	secure := protocolKey.FindAllStringSubmatch(string(proto.AppendSecure(nil, 0, &random, nil, []byte("AAAA"))), -1)
	var keys []string
	for _, k := range secure {
		keys = append(keys, k[2])
	}
	check("a secure line", keys)

	// The phases of client-connect, as recorded.
	golden, err := os.ReadFile(filepath.Join(root, "crypto", "testdata", "golden-"+crypto.SuiteRSA256+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, phase := range []string{"p1", "p2", "p3"} {
		_, line, _ := strings.Cut(string(golden), "\n"+phase+": ")
		line, _, _ = strings.Cut(line, "\n")
		keys := topKeys(t, line)
		if phase == "p1" {
			keys = append(keys, "retry")
		}
		check(phase, keys)
	}

	header := strings.Join(jsonKeys(reflect.TypeFor[proto.Header]()), " ")
	if want := "Header fields, in order: `" + header + "`."; !strings.Contains(protocolText(t), want) {
		t.Errorf("PROTOCOL.md does not say %q", want)
	}
}

// topKeys returns the keys of a JSON object, in order.
func topKeys(t *testing.T, object string) (keys []string) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(object))
	if _, err := dec.Token(); err != nil {
		t.Fatalf("%.60q: %v", object, err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(string))
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func TestProtocolHistoryLines(t *testing.T) {
	var names []string // in the order of the bits of Fields
	line := reflect.TypeFor[history.Line]()
	for i := range line.NumField() {
		name, _, _ := strings.Cut(line.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	told := map[string][]string{}
	for _, row := range protocolTable(t, "## History") {
		for _, typ := range protocolWords(row[0]) {
			told[typ] = protocolWords(row[1])
		}
	}
	for typ, set := range history.Fields {
		var want []string
		for i, name := range names {
			if set&(1<<i) != 0 {
				want = append(want, name)
			}
		}
		if !slices.Equal(told[typ], want) {
			t.Errorf("a line of type %s has in PROTOCOL.md the fields %q, in the code %q", typ, told[typ], want)
		}
		delete(told, typ)
	}
	for typ := range told {
		t.Errorf("%s is no type of line", typ)
	}
}

// TestProtocolContexts compares the contexts of all hashes and signatures, and the labels of all
// derivations. Each context has one number of items, wherever it stands.
func TestProtocolContexts(t *testing.T) {
	contexts, text := map[string]int{}, protocolText(t)
	count := func(context string, items int) {
		if n, seen := contexts[context]; seen && n != items {
			t.Errorf("%q has %d items in one place and %d in another", context, n, items)
		}
		contexts[context] = items
	}
	for _, file := range shippedSource(t) {
		for _, decl := range file.Decls {
			in, _ := decl.(*ast.FuncDecl)
			if in != nil && slices.Contains([]string{"Tuple", "HashTuple", "AppendTuple", "expandLabel"}, in.Name.Name) {
				continue // passes its caller's context or label on
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				args := call.Args
				switch calledName(call) {
				case "AppendTuple":
					args = args[1:]
					fallthrough
				case "Tuple", "HashTuple":
					if call.Ellipsis.IsValid() {
						t.Errorf("the items of %q are computed: they could be any", literal(t, args[0]))
					}
					count(literal(t, args[0]), len(args)-1)
				case "expandLabel":
					if label := literal(t, args[1]); !strings.Contains(text, `"chatsecure/2 `+label+`"`) {
						t.Errorf("PROTOCOL.md does not have the label %q", label)
					}
				}
				return true
			})
		}
	}
	told := map[string]int{}
	for _, m := range regexp.MustCompile(`(info )?tuple\("([^"]+)"`).FindAllStringSubmatchIndex(text, -1) {
		context, items := text[m[4]:m[5]], itemsTold(text[m[1]:])
		if m[2] >= 0 {
			items++ // a derivation has the secret's own label as one more
		}
		if n, seen := told[context]; seen && n != items {
			t.Errorf("PROTOCOL.md tells of %q with %d items and with %d", context, n, items)
		}
		told[context] = items
	}
	if !maps.Equal(told, contexts) {
		t.Errorf("the contexts in PROTOCOL.md, with their items, are\n%v, in the code\n%v", told, contexts)
	}
}

// itemsTold counts the items of a tuple whose context stands before rest.
func itemsTold(rest string) (n int) {
	for i, depth := 0, 0; i < len(rest); i++ {
		switch rest[i] {
		case '(', '[':
			depth++
		case ')', ']':
			if depth == 0 {
				return n
			}
			depth--
		case ',':
			if depth == 0 {
				n++
			}
		}
	}
	return -1
}

// literal returns a string literal's value. A computed context could be any.
func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
	s, ok := e.(*ast.BasicLit)
	if !ok || s.Kind != token.STRING {
		t.Errorf("a context or label is computed: %T", e)
		return ""
	}
	return strings.Trim(s.Value, `"`)
}

// shippedSource parses all Go files of the programs, except package card.
func shippedSource(t *testing.T) (files []*ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && slices.Contains([]string{"testdata", "card", ".git"}, d.Name()) {
				return fs.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, 0)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// calledName returns the name of the called function, without package or receiver, or "" if e is no
// call.
func calledName(e ast.Expr) string {
	call, _ := e.(*ast.CallExpr)
	if call == nil {
		return ""
	}
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// signingContexts returns the contexts of the tuples in e: of a call of Tuple, or of every return
// of the function that e calls.
func signingContexts(e ast.Expr, functions map[string][]*ast.FuncDecl) (contexts []string) {
	name := calledName(e)
	if name == "Tuple" {
		if s, ok := e.(*ast.CallExpr).Args[0].(*ast.BasicLit); ok && s.Kind == token.STRING {
			return []string{strings.Trim(s.Value, `"`)}
		}
		return nil
	}
	for _, f := range functions[name] {
		ast.Inspect(f, func(n ast.Node) bool {
			if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) == 1 {
				contexts = append(contexts, signingContexts(r.Results[0], nil)...)
			}
			return true
		})
	}
	return contexts
}

// TestCardSignsNothingElse looks at every Sign in the source. The card's has one caller, which
// passes a delegation. The contexts under which K and a relay's key sign are others: no signature
// of theirs can pass for a card's, nor a card's for theirs.
func TestCardSignsNothingElse(t *testing.T) {
	files, functions := shippedSource(t), map[string][]*ast.FuncDecl{}
	var all []*ast.FuncDecl
	named := 0 // counts function values as well as calls
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				all = append(all, n)
				functions[n.Name.Name] = append(functions[n.Name.Name], n)
			case *ast.SelectorExpr:
				if n.Sel.Name == "Sign" {
					named++
				}
			}
			return true
		})
	}
	var byCard, byKey []string
	for _, in := range all {
		ast.Inspect(in, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || calledName(call) != "Sign" {
				return true
			}
			named--
			switch len(call.Args) {
			case 0: // the sign of a number
			case 1:
				contexts := signingContexts(call.Args[0], functions)
				if len(contexts) == 0 {
					t.Errorf("%s has a key sign what is not seen to be a tuple", in.Name.Name)
				}
				byKey = append(byKey, contexts...)
			case 2:
				if x, ok := call.Fun.(*ast.SelectorExpr).X.(*ast.Ident); ok && x.Name == "ed25519" {
					break // the standard library's, below Key.Sign
				}
				byCard = append(byCard, in.Name.Name+" "+calledName(call.Args[1]))
				byCard = append(byCard, signingContexts(call.Args[1], functions)...)
			}
			return true
		})
	}
	if want := []string{"NewCredential DelegationMessage", "delegation"}; !slices.Equal(byCard, want) {
		t.Errorf("the card signs in %q, want %q", byCard, want)
	}
	slices.Sort(byKey)
	if want := []string{"cc-1", "cc-2", "cc-3", "cc-retry", "connect-2", "connect-3", "head", "letter", "message", "request"}; !slices.Equal(byKey, want) {
		t.Errorf("the contexts of what K and a relay's key sign are %q, want %q", byKey, want)
	}
	if named != 0 {
		t.Errorf("%d times Sign is handed on, where nothing is seen of what it signs", named)
	}
}

func TestProtocolAnchors(t *testing.T) {
	code, err := os.ReadFile(filepath.Join(root, "crypto", "trust", "anchors.go"))
	if err != nil {
		t.Fatal(err)
	}
	hash := regexp.MustCompile(`[0-9a-f]{64}`)
	var anchors, stateRoots []string // two lists in the code
	for _, row := range protocolTable(t, "## Identity") {
		anchors, stateRoots = append(anchors, hash.FindAllString(row[1], -1)...), append(stateRoots, hash.FindAllString(row[2], -1)...)
	}
	told := slices.Concat(anchors, stateRoots)
	if want := hash.FindAllString(string(code), -1); !slices.Equal(told, want) {
		t.Errorf("the hashes in PROTOCOL.md are %q, in the code %q", told, want)
	}
}

// TestSlackStandsOnce: the five minutes between clocks stand in one section, to which the others
// refer.
func TestSlackStandsOnce(t *testing.T) {
	const heading = "\n## Who is judged when\n"
	before, section, ok := strings.Cut(protocolText(t), heading)
	if !ok {
		t.Fatalf("PROTOCOL.md has no heading %q", heading)
	}
	section, after, _ := strings.Cut(section, "\n## ")
	minutes := regexp.MustCompile(`(?i)\b(five|5)[ -]min`)
	if n := len(minutes.FindAllString(section, -1)); n != 1 {
		t.Errorf("the section has them %d times, want once", n)
	}
	if other := minutes.FindString(before + after); other != "" {
		t.Errorf("another section has %q", other)
	}
	if want := "within **five minutes**"; trust.ClockTolerance != 5*time.Minute || !strings.Contains(section, want) {
		t.Errorf("the slack is %v, and the section lacks %q", trust.ClockTolerance, want)
	}
}
