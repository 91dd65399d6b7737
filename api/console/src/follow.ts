import type { WalletEvent } from '../client/types.gen';
import { base, Failure, refused } from './api';
import { failureOf } from './asked';
import { session } from './session';
import { EventReader } from './sse';

// Live is how a wallet is followed. Only in `live` is what is shown surely new.
export type Live = 'connecting' | 'live' | 'reconnecting' | 'ended';

export interface Follower {
  balance: (event: WalletEvent) => void;
  live: (live: Live, failure?: Failure) => void;
}

const silence = 40_000; // the api sends a comment every 15 s: after this the connection is dead, whoever has not said so
const firstPause = 1500;
const longestPause = 15_000;

// follow tells of a wallet's balance now and whenever it changes, at most 4 times a second however busy it is, until it
// is called off. A stream that ends is opened again: at once when the browser comes online, else after the pause that
// the server asked for, doubled after each failure.
export function follow(walletId: string, follower: Follower): () => void {
  const over = new AbortController();
  void run(walletId, follower, over.signal);
  return () => over.abort();
}

async function run(walletId: string, follower: Follower, over: AbortSignal): Promise<void> {
  let failures = 0;
  let asked: number | undefined; // the pause that the server asked for
  follower.live('connecting');
  while (!over.aborted) {
    let pause: number | undefined;
    try {
      asked = await connect(walletId, follower, over, () => (failures = 0)) ?? asked;
    } catch (error) {
      const failure = error instanceof Failure ? error : undefined;
      if (over.aborted) return;
      // Another try would be answered alike. (A 401 has ended the session.)
      if (failure && !failure.mayPass) {
        follower.live('ended', failure);
        return;
      }
      pause = (failure?.retryAfter ?? 0) * 1000;
      failures++;
    }
    if (over.aborted) return;
    follower.live('reconnecting');
    await rest(Math.max(pause ?? 0, Math.min(longestPause, (asked ?? firstPause) * 2 ** Math.max(0, failures - 1))), over);
  }
}

// connect reads one stream to its end. It returns the pause after which the server wants the next one.
async function connect(walletId: string, follower: Follower, over: AbortSignal, connected: () => void): Promise<number | undefined> {
  const quiet = new AbortController();
  let timer = window.setTimeout(() => quiet.abort(), silence);
  try {
    const key = session.get()?.key;
    const response = await fetch(`${base}/api/v1/wallets/${encodeURIComponent(walletId)}/events?balances=true`, {
      headers: { Accept: 'text/event-stream', ...(key ? { Authorization: `Bearer ${key}` } : {}) },
      signal: AbortSignal.any([over, quiet.signal]),
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
    });
    if (!response.ok || !response.body) throw refused(response, await response.json().catch(() => undefined), key);
    const events = new EventReader();
    const pieces = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await pieces.read();
      if (done) return events.retry;
      clearTimeout(timer);
      timer = window.setTimeout(() => quiet.abort(), silence);
      for (const event of events.read(value)) {
        if (event.event !== 'balance') continue;
        connected();
        follower.live('live');
        try {
          follower.balance(JSON.parse(event.data) as WalletEvent);
        } catch (error) {
          failureOf(error); // a mistake of the page: the stream goes on
        }
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

// rest waits, less long if the browser comes online or nobody wants to wait any more.
function rest(milliseconds: number, over: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      over.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    addEventListener('online', done);
    over.addEventListener('abort', done);
  });
}
