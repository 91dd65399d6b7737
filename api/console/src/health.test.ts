import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Status } from '../client/types.gen';
import { troubles } from './health';

const relay = { relay: 'relay', leading: true, position: '1:1:', positionSavedSecondsAgo: 0.1, waitingRows: 0, oldestWaitingSeconds: 0, paused: false };
const well: Status = {
  at: '2026-11-24T09:15:00.123456Z', unknown: [], processes: { api: 2, relay: 2, worker: 3 }, registeredPartitions: 8, pendingOperations: 12, oldestPendingSeconds: 0.1,
  relays: [relay], standingWallets: [], inTransit: [{ currency: 'EUR', operations: 1, amountMinor: 700, oldestSeconds: 0.1 }], lateHolds: { holds: 0, oldestSeconds: 0 },
  webhooks: { webhooks: 3, failing: 1, disabled: 1, disabledIds: [], lagMessages: 0, savedSecondsAgo: 0, lagSeconds: 4.2 },
};
const stuck = { walletId: 'w', appliedSequence: 7, lastSequence: 9, oldestPendingSeconds: 40, nextType: 'DEPOSIT', halted: false };

const cases: { name: string; status: Partial<Status>; want: string[] }[] = [
  { name: 'all is well', status: {}, want: [] },
  { name: 'what is not known is no trouble by itself', status: { processes: undefined, relays: undefined, pendingOperations: undefined } as object, want: [] },
  { name: 'a service is missing', status: { processes: { api: 1, worker: 1 } }, want: ['No process of relay is connected to Postgres.'] },
  { name: 'no topic', status: { registeredPartitions: 0 }, want: ['The topic of operations is not registered.'] },
  { name: 'no leader', status: { relays: [{ ...relay, leading: false }] }, want: ['No process leads relay: nothing is published.'] },
  { name: 'paused', status: { relays: [{ ...relay, leading: false, paused: true, pauseReason: 'upgrade' }] }, want: ['relay is paused: upgrade.'] },
  { name: 'a backlog', status: { relays: [{ ...relay, waitingRows: 5, oldestWaitingSeconds: 3 }] }, want: ['relay: a message has waited for 3.0 s.'] },
  { name: 'an age without a backlog is old news', status: { relays: [{ ...relay, oldestWaitingSeconds: 3 }] }, want: [] },
  { name: 'not applied', status: { oldestPendingSeconds: 65 }, want: ['An operation has waited for 1 min 5 s to be applied.'] },
  { name: 'a wallet is stalled', status: { standingWallets: [stuck] }, want: ['A wallet is stalled at operation 7 for 40 s.'] },
  { name: 'a wallet is halted', status: { standingWallets: [{ ...stuck, halted: true }] }, want: ['A wallet is halted at operation 7: the next one is missing.'] },
  { name: 'in transit', status: { inTransit: [{ currency: 'EUR', operations: 1, amountMinor: 1, oldestSeconds: 61 }] }, want: ['EUR are in transit between two wallets for 1 min 1 s.'] },
  { name: 'late holds', status: { lateHolds: { holds: 2, oldestSeconds: 12 } }, want: ['2 holds are open after their time.'] },
  { name: 'a webhook is behind', status: { webhooks: { webhooks: 1, failing: 1, disabled: 0, disabledIds: [], lagMessages: 0, savedSecondsAgo: 0, lagSeconds: 90 } }, want: ['A webhook is 1 min 30 s behind.'] },
  { name: 'a section is unknown', status: { unknown: [{ section: 'pending', error: 'a table is locked' }] }, want: ['Not known: pending: a table is locked.'] },
];

for (const { name, status, want } of cases) {
  test(name, () => assert.deepEqual(troubles({ ...well, ...status }).map((t) => t.says), want));
}
