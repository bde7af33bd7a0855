package command

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"chatsecure/crypto/trust"
	"chatsecure/internal/fail"
	"chatsecure/internal/term"
	"chatsecure/proto"
)

// maxQuestions bounds the questions that wait for the person.
const maxQuestions = 16

// questions are those to the person at the prompt. One is asked where a line begins, and takes a
// yes or no and nothing else: what is typed for somebody else goes there. A secret is typed only
// after /pin. Its methods may be called from any goroutine.
type questions struct {
	mu         sync.Mutex // guards the fields below
	open       []*question
	changed    func() // wakes the prompt
	typing     bool   // a line that comes before the questions
	over       bool
	introduced [][32]byte // the people whose certificates have been shown, the last ones
}

// question waits for its answer.
type question struct {
	text   string        // that comes before it
	again  string        // instead of text, once that has left the screen; "": text does
	last   string        // its last row
	about  string        // a name, or ""
	secret bool          // its answer is a PIN
	shown  bool          // owned by the goroutine of the prompt
	gone   atomic.Bool   // what was shown may have left the screen
	answer chan answered // capacity 1
}

type answered struct {
	yes    bool
	secret []byte
	err    error
}

// errNobodyAsked ends a question that the person does not get.
var errNobodyAsked = &fail.Error{
	Code: proto.Internal, Message: "the question was not answered", Hint: "answer it when it is asked again",
}

// ask puts a question and waits for the answer.
func (q *questions) ask(ctx context.Context, a *question) answered {
	a.answer = make(chan answered, 1)
	q.mu.Lock()
	if q.over || len(q.open) == maxQuestions {
		q.mu.Unlock()
		return answered{err: errNobodyAsked}
	}
	q.open = append(q.open, a)
	q.wake()
	q.mu.Unlock()
	select {
	case got := <-a.answer:
		return got
	case <-ctx.Done():
		if !q.end(a, answered{}) {
			return <-a.answer
		}
		return answered{err: ctx.Err()}
	}
}

// wake tells the prompt that the questions have changed. The lock is held.
func (q *questions) wake() {
	if q.changed != nil {
		q.changed()
	}
}

// end gives the answer to a question. It returns false if the question is over.
func (q *questions) end(a *question, got answered) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := slices.Index(q.open, a)
	if at < 0 {
		return false
	}
	q.open = slices.Delete(q.open, at, at+1)
	a.answer <- got
	q.wake()
	return true
}

// decided ends the questions about a person whom the command trust has accepted, or else not. After a
// yes the state directory still refuses another identity. It returns false if there was none.
func (q *questions) decided(name string, yes bool) (any bool) {
	q.mu.Lock()
	open := slices.Clone(q.open)
	q.mu.Unlock()
	for _, a := range open {
		if a.about != "" && proto.SameName(a.about, name) {
			any = q.end(a, answered{yes: yes}) || any
		}
	}
	return any
}

// close ends all questions, and those to come.
func (q *questions) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = true
	for _, a := range q.open {
		a.answer <- answered{err: errNobodyAsked}
	}
	q.open = nil
}

// begin returns the question that the next line answers, or nil. changed is called when that may
// be another.
func (q *questions) begin(typing bool, changed func()) *question {
	q.mu.Lock()
	q.typing, q.changed = typing, changed
	q.mu.Unlock()
	if typing {
		return nil
	}
	return q.first(false)
}

// first returns the first question of yes and no, or for a secret, or nil.
func (q *questions) first(secret bool) *question {
	q.mu.Lock()
	defer q.mu.Unlock()
	if at := slices.IndexFunc(q.open, func(a *question) bool { return a.secret == secret }); at >= 0 {
		return q.open[at]
	}
	return nil
}

// holdUp reports whether a message to somebody waits for an answer: a question about that person is
// open, or one about another new person comes first.
func (q *questions) holdUp(name string, accepted bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.open, func(a *question) bool {
		return a.about != "" && (!accepted || proto.SameName(a.about, name))
	})
}

// status says which questions wait, and for what.
func (q *questions) status() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var yesOrNo, pin string
	for _, a := range q.open {
		last := strings.TrimSpace(a.last)
		switch {
		case a.secret && pin == "":
			pin = "/pin gets the question: " + last
		case !a.secret && q.typing && yesOrNo == "":
			yesOrNo = "Enter on an empty line gets the question: " + last
		}
	}
	if yesOrNo != "" && pin != "" {
		yesOrNo += "; "
	}
	return yesOrNo + pin
}

// introduce notes that a person's certificate is shown. It returns false if that was done before.
func (q *questions) introduce(p *trust.Person) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if slices.Contains(q.introduced, p.Identity) {
		return false
	}
	q.introduced = append(q.introduced[max(0, len(q.introduced)-maxSayings):], p.Identity)
	return true
}

// showQuestion shows a question, or shows it again.
func (s *promptRun) showQuestion(a *question) {
	text := a.text
	if a.shown {
		text = cmp.Or(a.again, a.text)
	}
	a.shown = true
	a.gone.Store(false)
	s.terminal.Show(text, func() {
		a.gone.Store(true)
		s.questions.mu.Lock()
		defer s.questions.mu.Unlock()
		s.questions.wake()
	})
}

// typed waits for a line at the terminal that is no answer to a question. A line answers only a
// question that has been on the screen for term.ReadingTime when its first key comes, and is there
// still at its Enter. One that further output has moved off is shown again.
func (s *promptRun) typed(ctx context.Context) (term.Line, error) {
	var read *question // may be answered
	for first := true; ; first = false {
		waiting, wake := context.WithCancel(ctx)
		typing := s.terminal.Typing() || read != nil && s.terminal.LineWaits()
		asked := s.questions.begin(typing, wake)
		if status := s.questions.status(); status != "" {
			s.terminal.SetStatus(status)
		}
		prompt := s.prompt
		var timed atomic.Bool
		if asked != nil {
			if !asked.shown || asked.gone.Load() && (first || asked == read) {
				s.showQuestion(asked)
				read = nil
			}
			last := asked.last
			if asked != read {
				last = term.Unanswerable(last)
				s.soon(term.ReadingTime, func() { timed.Store(true); wake() })
			}
			prompt = func() string { return last }
			s.setStatus(s.desk.progress.last())
		}
		line, err := s.terminal.Prompt(waiting, prompt)
		woken := waiting.Err() != nil && ctx.Err() == nil
		wake()
		if err != nil && woken {
			if timed.Load() {
				read = asked
			} else if asked != read {
				read = nil
			}
			continue
		}
		s.questions.begin(false, nil) // the line is done
		yes, no := term.IsYes(line.Text)
		if err != nil || asked == nil || asked != read || line.Pasted || line.Blind || !yes && !no {
			return line, err
		}
		read = nil
		if !s.questions.end(asked, answered{yes: yes}) {
			s.out.notice("that question is over")
		}
	}
}

// pin asks for the PIN that a card waits for.
func (s *promptRun) pin(ctx context.Context) error {
	asked := s.questions.first(true)
	if asked == nil || s.terminal == nil {
		return promptError("no card waits for its PIN")
	}
	s.terminal.Print(asked.text)
	secret, err := s.terminal.Secret(ctx, asked.last)
	if !s.questions.end(asked, answered{secret: secret, err: err}) {
		clear(secret)
		s.out.notice("that question is over")
	}
	return nil
}
