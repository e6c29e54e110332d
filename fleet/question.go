package fleet

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// An Answer is a node's answer to a question.
type Answer struct {
	ID, Name string // of the node
	Text     string
	Err      error // why there is no answer: the node has not answered in time, or takes no questions. Nil: Text is its answer
}

// asked is how long to wait for an answer before the question is sent again: a letter may
// be lost.
const asked = 250 * time.Millisecond

// Ask sends a question to every node that this one has heard of, itself included, and
// returns their answers, sorted by name. It returns when all have answered, when the
// context ends, or when the node is closed; then the Err of the others is
// tokencache.ErrClosed. What a question means is up to Config.Answer. The log does not
// keep it, and an answer shows a node's condition at some time since Ask was called. The
// context should have a deadline: a node that is dead is a member for three leases, and
// one whose Config.Answer is nil never answers.
func (n *Node) Ask(ctx context.Context, question string) []Answer {
	id := n.cfg.newID()
	replies := make(chan letter, 16)
	n.mu.Lock()
	n.questions[id] = replies
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.questions, id)
	}()
	answers, addresses := n.audience()
	ask := letter{Process: n.id, Question: id, Text: question, Answer: n.address}
	for tick := time.NewTimer(0); len(addresses) > 0; {
		select {
		case <-ctx.Done():
			return sorted(answers, context.Cause(ctx))
		case <-n.ctx.Done():
			return sorted(answers, context.Cause(n.ctx))
		case <-tick.C:
			for process, address := range addresses {
				if process == n.id {
					n.discuss(ask)
				} else {
					n.log.Send(address, marshal(ask))
				}
			}
			tick.Reset(n.cfg.clock.Real(asked))
		case reply := <-replies:
			if _, waiting := addresses[reply.Process]; waiting {
				answers[reply.Process] = Answer{ID: reply.Process, Name: answers[reply.Process].Name, Text: reply.Text}
				delete(addresses, reply.Process)
			}
		}
	}
	return sorted(answers, nil)
}

// audience returns the nodes to ask, with no answer yet, and their addresses.
func (n *Node) audience() (map[string]Answer, map[string]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	answers := map[string]Answer{n.id: {ID: n.id, Name: n.cfg.Name, Err: errNoAnswer}}
	addresses := map[string]string{n.id: n.address}
	for process, h := range n.heard {
		answers[process] = Answer{ID: process, Name: h.beat.Name, Err: errNoAnswer}
		addresses[process] = h.beat.Address
	}
	return answers, addresses
}

func sorted(answers map[string]Answer, why error) []Answer {
	list := make([]Answer, 0, len(answers))
	for _, a := range answers {
		if a.Err != nil && why != nil {
			a.Err = why
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Answer) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

// discuss answers a question, or passes on an answer. Config.Answer may be slow, so it
// gets a goroutine: operators ask questions, clients do not.
func (n *Node) discuss(l letter) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	if l.Answer == "" {
		select {
		case n.questions[l.Question] <- l: // if nobody waits for the answer, the channel is nil
		default:
		}
		return
	}
	if n.cfg.Answer == nil || n.answering >= mostAnswering {
		return
	}
	n.answering++
	n.running.Go(func() {
		reply := letter{Process: n.id, Question: l.Question, Text: n.cfg.Answer(l.Text)}
		n.mu.Lock()
		n.answering--
		n.mu.Unlock()
		if l.Process == n.id {
			n.discuss(reply)
		} else {
			n.log.Send(l.Answer, marshal(reply))
		}
	})
}

// mostAnswering bounds how many questions are answered at a time; others are dropped, and
// sent again.
const mostAnswering = 8
