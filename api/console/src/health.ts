import type { Status } from '../client/types.gen';
import { duration } from './parts/time';

// Trouble is a problem of the system, as far as the status shows it. `ctl status` knows more.
export interface Trouble {
  says: string;
  wallet?: string; // which it is about
}

// From which age on something is late, in seconds. The first two are those of `ctl status`, whose tests read them here.
const slow = 2;
const inTransitLong = 60;
const webhooksLag = 60;

// troubles is what is wrong. Its order is that in which one looks: what stops everything comes first.
export function troubles(s: Status): Trouble[] {
  const found: Trouble[] = [];
  const say = (says: string, wallet?: string) => found.push(wallet ? { says, wallet } : { says });
  for (const service of ['api', 'relay', 'worker']) {
    if (s.processes && !s.processes[service]) say(`No process of ${service} is connected to Postgres.`);
  }
  if (s.registeredPartitions === 0) say('The topic of operations is not registered.');
  for (const r of s.relays ?? []) {
    if (r.paused) say(`${r.relay} is paused${r.pauseReason ? `: ${r.pauseReason}` : ''}.`);
    else if (!r.leading) say(`No process leads ${r.relay}: nothing is published.`);
    if (r.waitingRows > 0 && r.oldestWaitingSeconds >= slow) say(`${r.relay}: a message has waited for ${seconds(r.oldestWaitingSeconds)}.`);
  }
  if ((s.pendingOperations ?? 0) > 0 && (s.oldestPendingSeconds ?? 0) >= slow) {
    say(`An operation has waited for ${seconds(s.oldestPendingSeconds ?? 0)} to be applied.`);
  }
  for (const w of s.standingWallets ?? []) {
    say(w.halted ? `A wallet is halted at operation ${w.appliedSequence}: the next one is missing.` : `A wallet is stalled at operation ${w.appliedSequence} for ${seconds(w.oldestPendingSeconds)}.`, w.walletId);
  }
  for (const t of s.inTransit ?? []) {
    if (t.oldestSeconds >= inTransitLong) say(`${t.currency} are in transit between two wallets for ${seconds(t.oldestSeconds)}.`);
  }
  if (s.lateHolds && s.lateHolds.holds > 0) say(`${s.lateHolds.holds} holds are open after their time.`);
  if (s.webhooks && s.webhooks.lagSeconds >= webhooksLag) say(`A webhook is ${seconds(s.webhooks.lagSeconds)} behind.`);
  for (const u of s.unknown) say(`Not known: ${u.section}: ${u.error}.`);
  return found;
}

function seconds(s: number): string {
  return duration(s * 1000);
}
