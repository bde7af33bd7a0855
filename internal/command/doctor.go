package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

	state    *state.State // nil without a usable directory
	stateDir string
	name     string
	kept     *state.Credential // a key that makes the card unnecessary for now

	leaf  []byte // the certificate that a connection would use, in DER
	chain [][]byte
	lists *trust.CRLStore // nil with -crl-policy off
}

func runDoctor(a *app, ctx context.Context) error {
	if err := a.opt.checkRelay(); err != nil {
		return err
	}
	d := &doctor{a: a, name: a.opt.name}
	stateCheck := d.lookAtState()
	defer d.close()
	d.lookAtCard(ctx)
	bundle, err := a.readCABundle()
	if err != nil {
		return err
	}
	d.lookAtCertificate()
	if err := d.lookAtTrust(ctx, bundle); err != nil {
		return err
	}
	d.lookAtRelay(ctx)
	d.skip("admission", "only a connection shows whether the relay lets you in")
	d.lookAtClock()
	d.checks = append(d.checks, stateCheck)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return d.tell()
}

func (d *doctor) close() {
	if d.kept != nil {
		d.kept.Key.Erase()
	}
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
	return &fail.Error{
		Code:    worst.Code,
		Message: fmt.Sprintf("%s, first of all the %s", counted(failed, "check failed", "checks failed"), worst.Check),
		Hint:    "its line above says more",
	}
}

func (d *doctor) add(c doctorObject) { d.checks = append(d.checks, c) }

func (d *doctor) result(check, status, message, hint string) doctorObject {
	shown := shown(oneLine(d.a.opt.advice(hint)))
	return doctorObject{
		head: d.a.out.head("doctor"), Check: check, Status: status,
		Message: proto.Visible(oneLine(message)), Hint: term.Unwrapped(shown), shown: shown,
	}
}

func (d *doctor) ok(check, format string, args ...any) {
	d.add(d.result(check, doctorOK, fmt.Sprintf(format, args...), ""))
}

func (d *doctor) note(check, hint, format string, args ...any) {
	d.add(d.result(check, doctorNote, fmt.Sprintf(format, args...), hint))
}

func (d *doctor) skip(check, why string) { d.add(d.result(check, doctorSkipped, why, "")) }

func (d *doctor) failure(check string, err error) doctorObject {
	e := fail.AsError(d.a.opt.placed(err))
	c := d.result(check, doctorFailed, e.Message, e.Advice())
	c.Code, c.Exit = e.Code, fail.ExitStatus(err)
	return c
}

func (d *doctor) fail(check string, err error) { d.add(d.failure(check, err)) }

// lookAtState checks the state directory. It comes first, since a kept key
// makes the card unnecessary; the result is listed last.
func (d *doctor) lookAtState() doctorObject {
	const check = "state"
	dir, err := d.a.stateDir()
	if err != nil {
		return d.failure(check, err)
	}
	d.stateDir = dir
	state, err := state.OpenReadOnly(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return d.result(check, doctorOK, "there is none yet; the first connection makes "+dir, "")
	}
	if err != nil {
		return d.failure(check, err)
	}
	d.state = state
	if err := state.RefuseName(d.name); err != nil {
		return d.failure(check, err)
	}
	d.a.tellOutvoted()
	if err := writable(dir); err != nil {
		return d.failure(check, &fail.Error{
			Code: proto.Internal, Message: dir + " cannot be written: " + err.Error(),
			Hint: "check its owner and permissions", Err: err,
		})
	}
	if d.kept, err = state.LoadKept(d.name, d.a.opt.card, d.a.Now()); err != nil {
		return d.failure(check, err)
	}
	message := dir + ", not used yet"
	if state.Name() != "" {
		message = dir + ", of " + state.Name()
	}
	if free, ok := freeBytes(dir); ok && free < doctorDiskLow {
		return d.result(check, doctorNote, fmt.Sprintf("%s; %d MiB are free on its disk", message, free>>20),
			"make room: a message that cannot be stored is refused")
	}
	return d.result(check, doctorOK, message, "")
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
	shown, err := client.ProbeRelay(asking, opt.relay, opt.ciphers)
	if err != nil {
		d.fail(check, err)
		return
	}
	known, how := state.NormalFingerprint(opt.fingerprint), "given with "+opt.places.of("fingerprint")
	if known == "" && d.state != nil {
		known, _ = d.state.KnownRelay(opt.relay)
		how = "known from before"
	}
	switch {
	case known == shown:
		d.ok(check, "%s answers with the fingerprint %s, %s", opt.relay, shown, how)
	case opt.fingerprint != "":
		d.fail(check, state.RelayNotGiven(opt.relay, opt.places.of("fingerprint"), known, shown))
	case known != "":
		d.fail(check, d.state.RelayChanged(opt.relay, known, shown))
	case opt.batch && !opt.acceptNew:
		d.fail(check, fail.Errorf(proto.UnknownRelay, "%s answers, but its fingerprint is not known: %s", opt.relay, shown))
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
		d.fail(check, &fail.Error{
			Code: proto.DelegationNotYet, Message: fmt.Sprintf("it says %s, but %s is of %s UTC", says, what, at.UTC().Format(time.DateTime)),
			Hint: "set the clock: others refuse times more than five minutes from theirs",
		})
		return
	}
	switch synchronized() {
	case clockAdrift:
		d.note(check, "set it over the network, for example by timedatectl set-ntp true", "it says %s, and nothing keeps it right", says)
	case clockKept:
		d.ok(check, "it says %s, and is kept right over the network", says)
	default:
		d.ok(check, "it says %s, and nothing here contradicts it", says)
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
		for _, path := range []string{d.stateDir, d.state.HistoryDir()} {
			later(filepath.Base(path)+" in the state directory", modified(path))
		}
	}
	return what, at
}
