import type { Operation } from '../client/types.gen';
import { decimal } from './amount';

const columns: [name: string, of: (o: Operation, currency: string) => string | number | undefined][] = [
  ['sequence', (o) => o.sequence],
  ['operationId', (o) => o.operationId],
  ['operationType', (o) => o.operationType],
  ['status', (o) => o.status],
  ['failureReason', (o) => o.failureReason],
  ['settlement', (o) => o.settlement],
  ['currency', (_, currency) => currency],
  ['amountMinor', (o) => o.amount],
  ['amount', (o, currency) => (o.amount === undefined ? undefined : decimal(o.amount, currency))],
  ['balanceAfterMinor', (o) => o.balanceAfter],
  ['balanceAfter', (o, currency) => (o.balanceAfter === undefined ? undefined : decimal(o.balanceAfter, currency))],
  ['heldAfterMinor', (o) => o.heldAfter],
  ['availableAfterMinor', (o) => o.availableAfter],
  ['reference', (o) => o.reference],
  ['subjectId', (o) => o.subjectId],
  ['counterpartWalletId', (o) => o.counterpart?.walletId],
  ['counterpartOperationId', (o) => o.counterpart?.operationId],
  ['expiresAt', (o) => o.expiresAt],
  ['createdAt', (o) => o.createdAt],
  ['appliedAt', (o) => o.appliedAt],
  ['metadata', (o) => (o.metadata ? JSON.stringify(o.metadata) : undefined)],
];

export const header = columns.map(([name]) => name).join(',') + '\r\n';

// lines are operations as comma-separated values (RFC 4180).
export function lines(operations: Operation[], currency: string): string {
  return operations.map((o) => columns.map(([, of]) => cell(of(o, currency))).join(',') + '\r\n').join('');
}

// cell quotes a value where that is needed. A text that a spreadsheet would run as a formula gets an apostrophe:
// references and metadata are whatever some client has sent.
function cell(value: string | number | undefined): string {
  if (value === undefined) return '';
  if (typeof value === 'number') return String(value);
  const text = /^[=+\-@\t\r]/.test(value) && !/^-?\d+(\.\d+)?$/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
