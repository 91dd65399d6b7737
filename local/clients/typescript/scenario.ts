// Does, with the client that openapi-ts generates, what every client does, and prints what it sees.
import { randomUUID } from 'node:crypto';
import { createOperation, createWallet, getWallet, listOperations, type Problem } from './client/index.js';
import { client } from './client/client.gen.js';

client.setConfig({ baseUrl: process.env['API_URL'] ?? '', auth: process.env['API_KEY'] ?? '' });

const { data: wallet, error } = await createWallet({ body: { currency: 'EUR' } });
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

const printProblem = (problem: Problem | undefined) => console.log(`problem: ${problem?.status} ${problem?.code}`);
printProblem((await getWallet({ path: { walletId: wallet.walletId }, auth: 'lw_unknown' })).error);
printProblem((await getWallet({ path: { walletId: randomUUID() } })).error);
printProblem((await deposit(9)).error);
