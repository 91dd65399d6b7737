package main

import (
	"cmp"
	"slices"

	"github.com/legendary-wallet/legendary-wallet/db/hook"
)

type place struct {
	partition int32
	offset    int64
}

// setback is what a failed delivery leaves behind until it succeeds.
type setback struct {
	hook.Stalled
	Partition int32   `json:"partition"`
	Offsets   []int64 `json:"offsets"` // of the messages that were sent together
	Refused   bool    `json:"refused"` // it, and not the endpoint as a whole
}

// recall gives a wallet back what is known of its first run.
func (q *queue) recall(of *wallet) {
	at := place{of.runs[0].partition, of.runs[0].offset}
	s, found := q.set[at]
	if !found {
		return
	}
	delete(q.set, at)
	of.attempt, of.repeat, of.refused, of.since, of.err = s.Attempts, len(s.Offsets), s.Refused, s.Since, s.Error
	if s.NextAttempt != nil {
		of.next = *s.NextAttempt
		q.waiting[of] = true
	}
}

// setback describes the wallet's failed delivery, if its last one failed.
func (of *wallet) setback(waits bool) (setback, bool) {
	if of.attempt == 0 && of.err == "" || len(of.runs) == 0 || of.flying && of.attempt == 1 && of.err == "" {
		return setback{}, false
	}
	messages := of.together()
	last := messages[len(messages)-1]
	s := setback{Partition: last.partition, Refused: of.refused, Stalled: hook.Stalled{Run: last.run(), Since: of.since, Attempts: of.attempt, Error: of.err}}
	s.FromSequence = messages[0].from
	for _, m := range messages {
		s.Offsets = append(s.Offsets, m.offset)
	}
	if waits {
		next := of.next
		s.NextAttempt = &next
	}
	return s, true
}

// setbacks lists the failed deliveries, the first that failed first.
func (q *queue) setbacks() []setback {
	var all []setback
	for _, of := range q.wallets {
		if s, failed := of.setback(q.waiting[of]); failed {
			all = append(all, s)
		}
	}
	for _, s := range q.set {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b setback) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offsets[0], b.Offsets[0]))
	})
	return all
}

// skip abandons a failed delivery, and returns its runs. While it is under way it has to be asked for again.
func (q *queue) skip(id string) (skipped []hook.Run, later bool) {
	for _, of := range q.wallets {
		s, failed := of.setback(q.waiting[of])
		if !failed || s.Run.Run != id {
			continue
		}
		if of.flying {
			return nil, true
		}
		for _, m := range of.runs[:len(s.Offsets)] {
			skipped = append(skipped, m.run())
		}
		q.finish(of, len(s.Offsets))
		return skipped, false
	}
	for at, s := range q.set {
		if w := q.windows[s.Partition]; s.Run.Run == id && w != nil {
			for _, offset := range s.Offsets {
				w.finish(offset)
			}
			delete(q.set, at)
			return []hook.Run{s.Run}, false
		}
	}
	return nil, false
}
