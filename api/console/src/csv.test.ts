import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Operation } from '../client/types.gen';
import { header, lines } from './csv';

const operation: Operation = {
  operationId: 'o', walletId: 'w', sequence: 1, operationType: 'DEPOSIT', amount: 1050, status: 'PROCESSED',
  balanceAfter: 1050, heldAfter: 0, availableAfter: 1050, createdAt: 'then', appliedAt: 'now',
};

function cells(reference: string): string {
  const line = lines([{ ...operation, reference }], 'EUR');
  return line.slice(0, -2);
}

test('an operation is a line with as many cells as the header', () => {
  assert.equal(header.split(',').length, cells('plain').split(',').length);
  assert.equal(cells('plain'), '1,o,DEPOSIT,PROCESSED,,,EUR,1050,10.50,1050,10.50,0,1050,plain,,,,,then,now,');
});

test('a text is quoted where it has to be, and never runs as a formula', () => {
  const cases: [string, string][] = [
    ['a,b', '"a,b"'], ['a"b', '"a""b"'], ['=1+1', "'=1+1"], ['+1', "'+1"], ['-1+2', "'-1+2"], ['-12', '-12'], ['@SUM(A1)', "'@SUM(A1)"], ['=A1,B1', "\"'=A1,B1\""],
  ];
  for (const [reference, want] of cases) assert.ok(cells(reference).includes(`,1050,${want},`), `${reference}: ${cells(reference)}`);
});
