package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/event"
)

const (
	// streamLifetime is how long a stream lasts at most. The client goes on with another one, perhaps in
	// another process, so that the streams spread over processes that were added.
	streamLifetime = time.Hour

	// heartbeat is how often a stream shows that it is alive: proxies end what is silent for a minute.
	// Each time the key is looked up again, so that a stream ends keyLifetime later at most.
	heartbeat = 15 * time.Second

	// balancePause is the least time between two balances of a stream.
	balancePause = 250 * time.Millisecond

	// balanceShare is how much of the time is a balance's, when many streams have to get it.
	balanceShare = 200 * time.Microsecond

	// reconnectAfter is when a client is to connect again, and up to twice as late, so that not all of a
	// process that ends come at once.
	reconnectAfter = time.Second

	// A write of up to writeSize bytes that takes longer than streamWrite ends the stream: its client is too slow.
	writeSize   = 32 << 10
	streamWrite = 10 * time.Second

	// missedPause is how long a stream waits after Postgres did not answer.
	missedPause = time.Second
)

// Why a stream ends. Each reason is counted.
var (
	errClientLeft   = errors.New("client")
	errTooSlow      = errors.New("slow")
	errLifetimeOver = errors.New("lifetime")
	errDrains       = errors.New("shutdown")
	errKeyEnded     = errors.New("key")
)

// stream is one client that follows a wallet. What others change is guarded by streams.mu.
type stream struct {
	streams  *streams
	ctx      context.Context // the request's
	answer   http.ResponseWriter
	control  *http.ResponseController
	allowed  func() error // whether the key still is
	wallet   event.Wallet
	balances bool
	sent     int64 // the client has everything up to this version, or says so
	reached  int64 // the wallet has this version at least: a client may say that it has what does not exist yet

	lifetime, beat <-chan time.Time

	wake   chan struct{} // holds one
	queue  []*chunk      // what was read for all streams of the wallet, and this one has not sent
	queued int           // bytes of it
	behind bool          // the queue was full, and was dropped
}

// FollowWallet answers with events until the stream ends.
func (ws *wallets) FollowWallet(ctx context.Context, params oas.FollowWalletParams, w http.ResponseWriter) error {
	release, err := ws.streams.reserve(ctx, params.Balances.Value)
	if err != nil {
		return err
	}
	defer release()
	wallet, err := ws.readWallet(ctx, params.WalletID)
	if err != nil {
		return err
	}
	s := &stream{
		streams: ws.streams, ctx: ctx, answer: w, control: http.NewResponseController(w), wake: make(chan struct{}, 1),
		allowed: func() error { return ws.keys.stillAdmits(ctx) },
		wallet:  event.Wallet{ID: wallet.ID, Tenant: wallet.Tenant, Currency: wallet.Currency}, balances: params.Balances.Value,
	}
	began := stateOfWallet(s.wallet, wallet.Wallet)
	s.reached = began.version
	switch {
	case params.LastEventID.Set:
		s.sent = params.LastEventID.Value
	case params.After.Set:
		s.sent = params.After.Value
	default:
		s.sent = -1
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", cacheControl)
	header.Set("X-Accel-Buffering", "no") // nginx would collect events
	w.WriteHeader(http.StatusOK)
	if callOf(ctx).head {
		return nil
	}
	err = s.run(began)
	ws.streams.metrics.ends.WithLabelValues(err.Error()).Inc()
	return nil
}

// run sends events until it finds a reason to end.
func (s *stream) run(began balance) error {
	lifetime, beat := time.NewTimer(s.streams.lifetime-rand.N(s.streams.lifetime/10)), time.NewTicker(s.streams.heartbeat)
	defer lifetime.Stop()
	defer beat.Stop()
	s.lifetime, s.beat = lifetime.C, beat.C
	defer func() { _ = s.control.SetWriteDeadline(time.Now().Add(s.streams.write)) }() // of the answer's end
	first := append(strconv.AppendInt([]byte("retry: "), (reconnectAfter+rand.N(reconnectAfter)).Milliseconds(), 10), "\n\n"...)
	if err := s.write(first); err != nil {
		return err
	}
	if s.sent < 0 || s.balances && s.sent < began.version {
		if err := s.sendBalance(began); err != nil {
			return err
		}
	}
	if s.balances {
		return s.sendBalances()
	}
	return s.sendOperations()
}

// sendBalances sends the latest balance whenever there is a newer one than before. All streams of a wallet are woken at
// once. Each takes a moment of its own then, and keeps to it while the balance goes on changing: to write to all of
// them at once would keep the requests of others from the CPU.
func (s *stream) sendBalances() error {
	s.streams.join(s)
	defer s.streams.leave(s)
	for {
		select {
		case <-s.wake: // there was a newer one before the pause was over
		default:
			if err := s.wait(s.wake, nil); err != nil {
				return err
			}
			if spread := s.streams.spread(s.wallet.ID); spread > 0 {
				if err := s.wait(nil, time.After(rand.N(spread))); err != nil {
					return err
				}
			}
		}
		latest := s.streams.latest(s.wallet.ID)
		if latest.version <= s.sent {
			continue
		}
		if err := s.sendBalance(latest); err != nil {
			return err
		}
		if err := s.wait(nil, time.After(balancePause)); err != nil {
			return err
		}
	}
}

// sendOperations sends what the client has missed, and then what the wallet's feed reads for all. A stream
// whose queue is full has missed something, too.
func (s *stream) sendOperations() error {
	for {
		if err := s.catchUp(endOfSequences); err != nil {
			return err
		}
		if err := s.follow(); err != nil {
			return err
		}
	}
}

// follow returns nil if the stream has to catch up.
func (s *stream) follow() error {
	upTo := s.streams.join(s)
	defer s.streams.leave(s)
	if err := s.catchUp(upTo); err != nil {
		return err
	}
	for {
		chunks, behind := s.streams.take(s)
		for _, c := range chunks {
			if c.first > s.sent+1 {
				return nil
			}
			if err := s.send(c); err != nil {
				return err
			}
		}
		if behind {
			return nil
		}
		if err := s.wait(s.wake, nil); err != nil {
			return err
		}
	}
}

// catchUp sends the operations up to a sequence that are applied, page by page.
func (s *stream) catchUp(upTo int64) error {
	for s.sent < upTo {
		if err := s.wait(nil, passed); err != nil { // between pages the stream may be over
			return err
		}
		c, err := s.streams.missed(s.ctx, s.wallet, s.sent)
		switch {
		case err != nil:
			slog.Debug("read what a stream has missed", "error", err) // watch reports that Postgres is lost
			if err := s.wait(nil, time.After(missedPause)); err != nil {
				return err
			}
		case c == nil:
			return nil
		default:
			if err := s.send(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stream) sendBalance(b balance) error {
	if err := s.write(b.text); err != nil {
		return err
	}
	s.streams.metrics.events.WithLabelValues("balance").Inc()
	s.sent = b.version
	return nil
}

func (s *stream) send(c *chunk) error {
	text, operations := c.after(s.sent)
	if operations == 0 {
		return nil
	}
	if err := s.write(text); err != nil {
		return err
	}
	s.streams.metrics.events.WithLabelValues("operation").Add(float64(operations))
	s.sent, s.reached = c.last(), c.last()
	return nil
}

// passed is a time that is over.
var passed = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// wait returns nil when it is woken or the time is over. An error ends the stream.
func (s *stream) wait(wake <-chan struct{}, over <-chan time.Time) error {
	for {
		select { // of several that are ready any may come next: none is put off for ever
		case <-wake:
			return nil
		case <-over:
			return nil
		case <-s.beat:
			if err := s.alive(); err != nil {
				return err
			}
		case <-s.lifetime:
			return errLifetimeOver
		case <-s.streams.draining:
			return errDrains
		case <-s.ctx.Done():
			return errClientLeft
		}
	}
}

// over is an error if the stream has to end now.
func (s *stream) over() error {
	select {
	case <-s.beat:
		return s.admitted()
	case <-s.lifetime:
		return errLifetimeOver
	case <-s.streams.draining:
		return errDrains
	case <-s.ctx.Done():
		return errClientLeft
	default:
		return nil
	}
}

// alive sends a comment, if the key still may read the wallet.
func (s *stream) alive() error {
	if err := s.admitted(); err != nil {
		return err
	}
	return s.write([]byte(":\n\n"))
}

// admitted is an error if the key may not read the wallet any more. While nobody can say so, nothing is read
// either, and the stream goes on.
func (s *stream) admitted() error {
	var p problem
	if err := s.allowed(); errors.As(err, &p) && (p.code == unauthorized || p.code == forbidden) {
		return errKeyEnded
	}
	return nil
}

// write ends in the midst of an event if the stream is over: clients drop what has no end. One that reads slowly puts
// that off by a part.
func (s *stream) write(text []byte) error {
	for len(text) > 0 {
		if err := s.control.SetWriteDeadline(time.Now().Add(s.streams.write)); err != nil {
			return writeError(err)
		}
		part := text[:min(len(text), writeSize)]
		if _, err := s.answer.Write(part); err != nil {
			return writeError(err)
		}
		if text = text[len(part):]; len(text) > 0 {
			if err := s.over(); err != nil {
				return err
			}
		}
	}
	return writeError(s.control.Flush())
}

func writeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTooSlow
	default:
		return errClientLeft
	}
}
