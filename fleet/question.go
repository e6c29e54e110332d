package fleet

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// An Answer is what a node has said to a question.
type Answer struct {
	ID, Name string // of the node
	Text     string
	Err      error // it has not answered in time, or takes no questions; nil: Text is its answer
}

// asked is how long a question waits until it is sent again: a letter may be lost.
const asked = 250 * time.Millisecond

// Ask sends a question to every node of which this one has heard, itself included, and
// returns their answers, sorted by name, when all have answered, the context ends, or
// the node is closed: the Err of the others is then tokencache.ErrClosed. What a
// question means is up to Config.Answer; the log does not keep it, and the answers say
// how things stood on each node at some time since Ask was called. The context should
// have a deadline: a node that is dead is a member for three leases, and one whose
// Config.Answer is nil never answers.
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

// audience returns the nodes to ask, with no answer yet, and where each is asked.
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

// discuss answers a question, or hands on the answer to one. Config.Answer may take its
// time, so it gets a goroutine; a node is asked by operators, not by tokens.
func (n *Node) discuss(l letter) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	if l.Answer == "" {
		select {
		case n.questions[l.Question] <- l: // of a question that nobody waits for: a nil channel
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

// mostAnswering bounds the questions that are answered at a time; more are lost, and
// sent again.
const mostAnswering = 8
