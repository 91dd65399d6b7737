// Does, with the client that openapi-ts generates, what every client does, and prints what it sees.
import { randomUUID } from 'node:crypto';
import { createOperation, createWallet, getWallet, listOperations, type Problem } from './client/index.js';
import { captureHold, createHold, createTransfer, createWalletOperation, getHold, listHolds } from './client/index.js';
import { releaseHold, reverseOperation, setWalletState } from './client/index.js';
import { createOperations, findOperation, followWallet, getKey, getOperation, getStatus, listWallets } from './client/index.js';
import { createWebhook, deleteWebhook, getWebhook, listWebhookAttempts, listWebhooks, replayWebhook } from './client/index.js';
import { rotateWebhookSecret, skipWebhookRun, testWebhook, updateWebhook } from './client/index.js';
import { client } from './client/client.gen.js';

client.setConfig({ baseUrl: process.env['API_URL'] ?? '', auth: process.env['API_KEY'] ?? '' });
// Where there are several cells, requests whose path has no wallet name one.
const cell = process.env['WALLET_CELL'];
if (cell) client.setConfig({ headers: { 'Wallet-Cell': cell } });

const { data: wallet, error } = await createWallet({ body: { currency: 'EUR', metadata: { order: '815' } } });
if (!wallet) throw new Error(error.code);
console.log(`wallet: ${wallet.currency}, balance ${wallet.balance}`);

const key = randomUUID();
const deposit = (amount: number) =>
  createOperation({
    body: { walletId: wallet.walletId, operationType: 'DEPOSIT', amount },
    headers: { 'Idempotency-Key': key },
  });
const first = await deposit(1050);
const again = await deposit(1050);
const same = first.data?.operationId === again.data?.operationId;
console.log(`deposit: sequence ${first.data?.sequence}`);
console.log(`retried: same operation ${same}, replayed ${again.response?.headers.get('Idempotency-Replayed')}`);

const withdraw = (amount: number) =>
  createOperation({
    body: { walletId: wallet.walletId, operationType: 'WITHDRAW', amount },
    headers: { 'Idempotency-Key': randomUUID(), Prefer: 'wait=30' },
  });
const { data: paid } = await withdraw(300);
console.log(`withdrawal: ${paid?.status}, balance ${paid?.balanceAfter}`);
const { data: refused } = await withdraw(5000);
console.log(`overdraft: ${refused?.status}, ${refused?.failureReason}`);

const page = (after: number | undefined) =>
  listOperations({ path: { walletId: wallet.walletId }, query: { limit: 2, order: 'asc', after } });
let after: number | undefined;
do {
  const { data: statement, error } = await page(after);
  if (!statement) throw new Error(error.code);
  for (const o of statement.items) {
    console.log(`statement: ${o.sequence} ${o.operationType} ${o.amount} ${o.status}`);
  }
  after = statement.next ?? undefined;
} while (after !== undefined);

const walletId = wallet.walletId;
const headers = { Prefer: 'wait=30' };
const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
const { data: hold } = await createHold({ path: { walletId }, body: { amount: 500, expiresAt }, headers });
console.log(`hold: ${hold?.status}, held ${hold?.heldAfter}, available ${hold?.availableAfter}`);
const holdId = hold?.operationId ?? '';
const { data: open } = await listHolds({ path: { walletId } });
console.log(`open holds: ${open?.items.length}, remaining ${open?.items[0]?.remaining}`);
for (const body of [{ amount: 200, final: false }, {}]) {
  const { data: captured } = await captureHold({ path: { walletId, holdId }, body, headers });
  console.log(`captured: ${captured?.amount}, held ${captured?.heldAfter}`);
}
const { data: closed } = await getHold({ path: { walletId, holdId } });
console.log(`hold: ${closed?.status}, captured ${closed?.captured}`);
const { data: second } = await createHold({ path: { walletId }, body: { amount: 100 } });
const { data: released } = await releaseHold({ path: { walletId, holdId: second?.operationId ?? '' }, body: {}, headers });
console.log(`released: ${released?.amount}, available ${released?.availableAfter}`);

const reference = randomUUID();
const { data: other } = await createWallet({ body: { currency: 'EUR', reference } });
const toWalletId = other?.walletId ?? '';
const { data: toppedUp } = await createWalletOperation({
  path: { walletId: toWalletId },
  body: { operationType: 'DEPOSIT', amount: 5 },
  headers,
});
console.log(`by path: balance ${toppedUp?.balanceAfter}`);
const { data: sent } = await createTransfer({ path: { walletId }, body: { toWalletId, amount: 40 }, headers });
console.log(`transfer: ${sent?.settlement}, to the other wallet ${sent?.counterpart?.walletId === toWalletId}`);
const operationId = first.data?.operationId ?? '';
const { data: reversed } = await reverseOperation({ path: { walletId, operationId }, body: { amount: 10 }, headers });
console.log(`reversed: ${reversed?.amount}, balance ${reversed?.balanceAfter}`);

const { data: ofTheHold } = await listOperations({ path: { walletId }, query: { subjectId: holdId, order: 'asc' } });
for (const o of ofTheHold?.items ?? []) console.log(`of the hold: ${o.operationType} ${o.amount}`);
const { data: found } = await listOperations({
  path: { walletId },
  query: { type: 'TRANSFER', status: 'PROCESSED', from: sent?.createdAt, to: expiresAt },
});
for (const o of found?.items ?? []) console.log(`found: ${o.operationType} ${o.amount}`);
const { data: then } = await getWallet({ path: { walletId }, query: { at: hold?.createdAt } });
console.log(`when it was held: balance ${then?.balance}, held ${then?.held}`);
const { data: third } = await createHold({ path: { walletId }, body: { amount: 50 } });
const { data: sold } = await captureHold({
  path: { walletId, holdId: third?.operationId ?? '' },
  body: { toWalletId },
  headers,
});
console.log(`captured for the other wallet: ${sold?.amount} ${sold?.settlement}`);
const printProblem = (problem: Problem | undefined) => console.log(`problem: ${problem?.status} ${problem?.code}`);
printProblem((await reverseOperation({ path: { walletId, operationId: sent?.operationId ?? '' }, body: {} })).error);

const { data: batch } = await createOperations({
  body: {
    operations: [
      { walletId: toWalletId, operationType: 'DEPOSIT', amount: 7 },
      { walletId, operationType: 'DEPOSIT', amount: 9, idempotencyKey: key },
    ],
  },
});
let accepted = '';
for (const item of batch?.items ?? []) {
  if ('code' in item) {
    console.log(`batch: ${item.status} ${item.code}`);
  } else {
    accepted = item.operationId;
    console.log(`batch: sequence ${item.sequence}`);
  }
}
const { data: read } = await getOperation({ path: { walletId: toWalletId, operationId: accepted }, headers });
console.log(`after the batch: ${read?.status}, balance ${read?.balanceAfter}`);
const { data: byId } = await findOperation({ path: { operationId }, query: { timeline: true } });
console.log(`by its id: ${byId?.operationType} ${byId?.amount}, pending before it ${byId?.timeline?.pendingBefore}`);
const { data: byReference } = await listWallets({ query: { reference } });
for (const w of byReference?.items ?? []) {
  console.log(`by its reference: the other wallet ${w.walletId === toWalletId}, balance ${w.balance}`);
}
// The stream goes on for an hour, so it is left. This prints nothing: not every generated client can read a stream.
const leave = new AbortController();
const { stream } = await followWallet({ path: { walletId }, query: { after: 0 }, signal: leave.signal });
const { value: event } = await stream.next();
if (!JSON.stringify(event).includes(operationId)) throw new Error('the stream begins without the deposit');
leave.abort();

const { data: frozen } = await setWalletState({ path: { walletId }, body: { state: 'FROZEN', reason: 'case 17' }, headers });
const { data: stopped } = await withdraw(1);
console.log(`frozen: ${frozen?.status}, then ${stopped?.failureReason}`);
const { data: now } = await getWallet({ path: { walletId } });
console.log(`wallet: ${now?.state}, order ${now?.metadata?.['order']}`);

const { data: mine } = await getKey();
console.log(`key: may write operations ${mine?.scopes.includes('operations:write')}`);
const { data: status } = await getStatus();
console.log(`status: a relay leads ${status?.relays?.some((relay) => relay.leading)}`);

const { data: webhook } = await createWebhook({ body: { url: 'http://127.0.0.1:1/hooks', wallets: [walletId] } });
console.log(`webhook: ${webhook?.state}, secret ${webhook?.secret !== undefined}`);
const path = { id: webhook?.id ?? '' };
const { data: webhooks } = await listWebhooks({ query: { limit: 500 } });
console.log(`listed: ${webhooks?.items.some((w) => w.id === path.id)}`);
const { data: changed } = await updateWebhook({ path, body: { description: 'receipts', enabled: false } });
console.log(`changed: ${changed?.description}, enabled ${changed?.enabled}`);
const { data: kept } = await getWebhook({ path });
console.log(`read: wallets ${kept?.wallets?.length}, secret ${kept?.secret !== undefined}`);
const { data: rotated } = await rotateWebhookSecret({ path });
console.log(`rotated: another secret ${rotated?.secret !== undefined && rotated.secret !== webhook?.secret}`);
const { data: attempts } = await listWebhookAttempts({ path });
console.log(`attempts: ${attempts?.items.length}`);
const { data: tested } = await testWebhook({ path });
console.log(`test: has a message ${tested?.messageId !== undefined}`);
const { data: replayed } = await replayWebhook({ path, body: { since: hold?.createdAt ?? '' } });
console.log(`replay: asked for later ${(replayed?.requestId ?? 0) > (tested?.requestId ?? 0)}`);
printProblem((await skipWebhookRun({ path, body: {} })).error);
const { error: undeleted } = await deleteWebhook({ path });
if (undeleted) throw new Error(undeleted.code);
printProblem((await getWebhook({ path })).error);

printProblem((await getWallet({ path: { walletId: wallet.walletId }, auth: 'lw_unknown' })).error);
printProblem((await getWallet({ path: { walletId: randomUUID() } })).error);
printProblem((await deposit(9)).error);
printProblem((await captureHold({ path: { walletId, holdId: randomUUID() }, body: {} })).error);
