package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"chatsecure/crypto/trust"
	"chatsecure/internal/client"
	"chatsecure/internal/fail"
	"chatsecure/internal/state"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// doctorObject is one check of doctor.
type doctorObject struct {
	head
	Check   string     `json:"check"`
	Status  string     `json:"status"` // see doctorOK
	Code    proto.Code `json:"code,omitempty"`
	Exit    int        `json:"exit"`
	Message string     `json:"message"`
	Hint    string     `json:"hint,omitempty"`
	shown   string     // the hint, for a terminal
}

func (c doctorObject) text() string {
	text := fmt.Sprintf("%-8s%-13s%s%s", c.Status, c.Check, term.Hang, c.Message)
	if c.Hint != "" {
		text += " (hint: " + c.shown + ")"
	}
	return text + "\n"
}

// The results of a check. Only a failure counts for the exit status.
const (
	doctorOK      = "ok"
	doctorNote    = "note"    // it works, with a remark
	doctorFailed  = "failed"  // a connection would fail here
	doctorSkipped = "skipped" // not possible, mostly after an earlier failure
)

// doctor checks the needs of a connection, in their order. It asks for no PIN,
// signs nothing and changes nothing.
type doctor struct {
	a      *app
	checks []doctorObject

	state *state.State      // nil without a usable directory
	kept  *state.Credential // makes the card unnecessary for now; its key is erased

	leaf  []byte // the certificate that a connection would use, in DER
	chain [][]byte
	lists *trust.CRLStore // nil with -crl-policy off
}

func runDoctor(a *app, ctx context.Context) error {
	if err := a.opt.checkRelay(); err != nil {
		return err
	}
	d := &doctor{a: a}
	d.lookAtState()
	d.lookAtCard(ctx)
	d.lookAtCertificate()
	if err := d.lookAtTrust(ctx); err != nil {
		return err
	}
	d.lookAtRelay(ctx)
	d.add("admission", doctorSkipped, "", "only a connection shows whether the relay lets you in")
	d.lookAtClock()
	d.checks = append(d.checks[1:], d.checks[0])
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return d.tell()
}

// tell writes all checks and returns the most severe failure.
func (d *doctor) tell() error {
	failed, worst := 0, doctorObject{}
	for _, c := range d.checks {
		if c.Status == doctorFailed {
			failed++
			if worst.Exit == 0 || fail.MostSevere(c.Exit, worst.Exit) != worst.Exit {
				worst = c
			}
		}
		d.a.out.show(c)
	}
	if failed == 0 {
		return nil
	}
	d.a.out.flush() // before the summary on standard error
	return fail.Errorf(worst.Code, "%s, first of all the %s",
		counted(failed, "check failed", "checks failed"), worst.Check).With("its line above says more")
}

// failure returns the first failed check, the zero value for none.
func (d *doctor) failure() (c doctorObject) {
	for _, c := range d.checks {
		if c.Status == doctorFailed {
			return c
		}
	}
	return c
}

// add adds the result of a check.
func (d *doctor) add(check, status, hint, format string, args ...any) *doctorObject {
	shown := shown(oneLine(d.a.opt.advice(hint)))
	d.checks = append(d.checks, doctorObject{
		head: d.a.out.head("doctor"), Check: check, Status: status,
		Message: proto.Visible(oneLine(fmt.Sprintf(format, args...))),
		Hint:    term.Unwrapped(shown), shown: shown,
	})
	return &d.checks[len(d.checks)-1]
}

func (d *doctor) ok(check, format string, args ...any) {
	d.add(check, doctorOK, "", format, args...)
}

func (d *doctor) note(check, hint, format string, args ...any) {
	d.add(check, doctorNote, hint, format, args...)
}

func (d *doctor) fail(check string, err error) {
	e := fail.AsError(d.a.opt.placed(err))
	c := d.add(check, doctorFailed, e.Advice(), "%s", e.Message)
	c.Code, c.Exit = e.Code, fail.ExitStatus(err)
}

// lookAtState checks the state directory. It comes first, since a kept key
// makes the card unnecessary; the result is listed last.
func (d *doctor) lookAtState() {
	const check = "state"
	opt := &d.a.opt
	dir, _ := d.a.stateDir()
	var err error
	if d.state, err = d.a.readState(); errors.Is(err, fs.ErrNotExist) {
		d.ok(check, "there is none yet; the first connection makes %s", dir)
		return
	}
	if err == nil {
		err = d.state.RefuseName(opt.name)
	}
	if err == nil {
		d.a.tellOutvoted()
		err = writable(dir)
	}
	if err == nil {
		d.kept, err = d.state.LoadKept(opt.name, opt.card, d.a.Now())
	}
	if err != nil {
		d.fail(check, err)
		return
	}
	if d.kept != nil {
		d.kept.Key.Erase()
	}
	message := dir + ", not used yet"
	if owner := d.state.Name(); owner != "" {
		message = dir + ", of " + owner
	}
	if free, ok := freeBytes(dir); ok && free < doctorDiskLow {
		d.note(check, "make room: a message that cannot be stored is refused",
			"%s; %d MiB are free on its disk", message, free>>20)
		return
	}
	d.ok(check, "%s", message)
}

// doctorDiskLow is the room on a nearly full disk, in bytes: some hundred
// messages of the longest kind.
const doctorDiskLow = 64 << 20

// lookAtRelay compares the relay's key with the given or known one.
func (d *doctor) lookAtRelay(ctx context.Context) {
	const check = "relay"
	opt := &d.a.opt
	asking, cancel := context.WithTimeout(ctx, opt.timeout)
	defer cancel()
	shown, err := client.ProbeRelay(asking, opt.relay, opt.ciphers, d.a.tellBusy)
	if err != nil {
		d.fail(check, err)
		return
	}
	known := cmp.Or(d.state, new(state.State))
	trusted, err := known.CheckRelay(opt.relay, opt.fingerprint, opt.places.of("fingerprint"), shown)
	switch {
	case err != nil:
		d.fail(check, err)
	case trusted != "":
		d.ok(check, "%s answers with the fingerprint %s, %s", opt.relay, shown, trusted)
	case opt.batch && !opt.acceptNew:
		d.fail(check, fail.Errorf(proto.UnknownRelay, "%s answers, but its fingerprint is not known: %s",
			opt.relay, shown))
	default:
		d.note(check, "compare it with what relay -fingerprint prints there",
			"%s answers, for the first time, with the fingerprint %s", opt.relay, shown)
	}
}

// lookAtClock compares the clock with times that have passed. This can prove a
// clock wrong, never right.
func (d *doctor) lookAtClock() {
	const check = "clock"
	now := d.a.Now()
	says := now.UTC().Format(time.DateTime) + " UTC"
	what, at := d.latestPast()
	if at.Sub(now) > trust.ClockTolerance {
		d.fail(check, fail.Errorf(proto.DelegationNotYet, "it says %s, but %s is of %s UTC",
			says, what, at.UTC().Format(time.DateTime)).
			With("set the clock: others refuse times more than five minutes from theirs"))
		return
	}
	switch kept, known := synchronized(); {
	case !known:
		d.ok(check, "it says %s, and nothing here contradicts it", says)
	case kept:
		d.ok(check, "it says %s, and is kept right over the network", says)
	default:
		d.note(check, "set it over the network, for example by timedatectl set-ntp true",
			"it says %s, and nothing keeps it right", says)
	}
}

// latestPast returns the latest of the times that must have passed.
func (d *doctor) latestPast() (what string, at time.Time) {
	later := func(thing string, t time.Time) {
		if t.After(at) {
			what, at = thing, t
		}
	}
	later("this program", buildTime())
	if d.lists != nil {
		for _, l := range d.lists.List() {
			if l.Verified && l.Flaw == "" {
				later("the revocation list of "+l.Issuer, l.ThisUpdate)
			}
		}
	}
	if d.state != nil {
		for _, path := range []string{d.state.Dir(), d.state.HistoryDir()} {
			if info, err := os.Lstat(path); err == nil {
				later(filepath.Base(path)+" in the state directory", info.ModTime())
			}
		}
	}
	return what, at
}
