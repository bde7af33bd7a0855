package command

import (
	"errors"
	"strings"
	"sync"

	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/proto"
)

var (
	clauseEnds  = pattern(`; |\. |, or `)
	typedHere   = pattern(`\bclient (list|whois|trust|history)\b( [^-]|$)`)
	notHere     = pattern(`\bclient [a-z-]|(^|[ (])-[a-z]`)
	quoted      = pattern(`'(\[[^ ']*)'`) // an address with brackets, for a shell
	wholeDigits = pattern(`\b([0-9a-f]{8})[0-9a-f]{56}\b`)
)

// promptAdvice puts a hint of the command line into the words of the prompt: client list is /list,
// eight digits of what was refused are enough, and a clause about another command or an option is
// left out, unless it is for the other side, "there".
func promptAdvice(hint string) string {
	hint = strings.ReplaceAll(hint, fail.Mark, "")
	hint = strings.ReplaceAll(hint, "client -h shows how it is used", "/help shows what can be typed")
	hint = quoted().ReplaceAllString(hint, "$1")
	hint = wholeDigits().ReplaceAllString(typedHere().ReplaceAllString(hint, "/$1$2"), "$1")
	var kept strings.Builder
	end := ""
	for hint != "" {
		clause, next := hint, ""
		if at := clauseEnds().FindStringIndex(hint); at != nil {
			clause, next = hint[:at[0]], hint[at[0]:at[1]]
		}
		hint = hint[len(clause)+len(next):]
		if !notHere().MatchString(clause) || strings.Contains(clause, " there") {
			if kept.Len() > 0 {
				kept.WriteString(end)
			}
			kept.WriteString(clause)
		}
		end = next
	}
	return kept.String()
}

// promptNotice puts a notice into the words of the prompt. Its last clause may be advice; the facts
// before it stay.
func promptNotice(notice string) string {
	at := strings.LastIndex(notice, "; ")
	if at < 0 {
		return notice
	}
	if advice := promptAdvice(notice[at+2:]); advice != "" {
		return notice[:at+2] + advice
	}
	return notice[:at]
}

// maxRefusals bounds the refusals that the prompt remembers.
const maxRefusals = 64

// shortest is the number of digits that name what the prompt has refused.
const shortest = 8

// refusals remembers the relays and people that were refused at this prompt, for trust accept. Its
// methods may be called from any goroutine.
type refusals struct {
	mu   sync.Mutex
	last []state.Refused
}

// refusedIn returns the relay or person whose refusal an event tells, or nil.
func refusedIn(ev *client.Event) *state.Refused {
	var err *fail.Error
	switch {
	case ev.Peer != nil:
		return ev.Peer.Refused
	case ev.Receipt != nil:
		err = ev.Receipt.Err
	default:
		err = ev.Err
	}
	if err == nil {
		return nil
	}
	refused, _ := errors.AsType[*state.Refused](err)
	return refused
}

// note remembers a refusal, or nil.
func (r *refusals) note(refused *state.Refused) {
	if refused == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = append(r.last[max(0, len(r.last)-maxRefusals+1):], *refused)
}

// whole completes the digits in the arguments of trust accept and trust block.
func (r *refusals) whole(args []string) ([]string, error) {
	if len(args) != 3 || args[0] != "accept" && args[0] != "block" {
		return args, nil
	}
	digits := state.NormalFingerprint(args[2])
	if len(digits) < shortest || len(digits) >= 64 {
		return args, nil
	}
	target := args[1]
	if addr, err := state.RelayAddr(target); err == nil { // refused is its one form
		target = addr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	found := ""
	for _, refused := range r.last {
		switch {
		case !proto.SameName(refused.Target, target) || !strings.HasPrefix(refused.Value, digits):
		case found != "" && found != refused.Value:
			return nil, promptError("more than one of the refused begins with %s: give all 64 digits", digits)
		default:
			found = refused.Value
		}
	}
	if found == "" {
		return nil, promptError("nothing that was refused here under %s begins with %s: give all 64 digits",
			proto.Quote(args[1]), digits)
	}
	return []string{args[0], args[1], found}, nil
}
