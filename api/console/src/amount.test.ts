import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decimal, fractionDigits, money, parseAmount } from './amount';

test('an amount is written with its currency\'s decimals, exactly', () => {
  const cases: [number, string, string][] = [
    [1050, 'EUR', '10.50'], [5, 'EUR', '0.05'], [0, 'EUR', '0.00'], [-1050, 'EUR', '-10.50'],
    [1050, 'JPY', '1050'], [1050, 'KWD', '1.050'], [1050, 'QQQ', '10.50'], [1050, 'eu', '10.50'],
    [9007199254740991, 'EUR', '90071992547409.91'],
  ];
  for (const [minor, currency, want] of cases) assert.equal(decimal(minor, currency), want);
});

test('money keeps every digit of the largest amount', () => {
  assert.equal(money(9007199254740991, 'EUR').replace(/\D/g, ''), '9007199254740991');
  assert.match(money(2 ** 60, 'EUR'), /^≈ /);
  assert.equal(money(1050, 'eu'), '10.50 eu');
});

test('what a person types is an amount or a mistake, never a guess', () => {
  const right: [string, string, number][] = [
    ['10', 'EUR', 1000], ['10.5', 'EUR', 1050], ['10.50', 'EUR', 1050], [' 0.01 ', 'EUR', 1], ['10.', 'EUR', 1000],
    ['10', 'JPY', 10], ['1.050', 'KWD', 1050], ['90071992547409.91', 'EUR', 9007199254740991], ['0010', 'EUR', 1000],
  ];
  for (const [text, currency, minor] of right) assert.deepEqual(parseAmount(text, currency), { minor }, text);
  const wrong: [string, string][] = [
    ['', 'EUR'], ['0', 'EUR'], ['0.00', 'EUR'], ['-1', 'EUR'], ['+1', 'EUR'], ['1,050', 'EUR'], ['1,5', 'EUR'], ['1.005', 'EUR'],
    ['1.0', 'JPY'], ['1e3', 'EUR'], ['.5', 'EUR'], ['90071992547409.92', 'EUR'], ['١', 'EUR'], ['10 EUR', 'EUR'],
  ];
  for (const [text, currency] of wrong) assert.ok('mistake' in parseAmount(text, currency), text);
});

test('a currency that the browser does not know has two decimals', () => {
  assert.equal(fractionDigits('XQQ'), 2);
});
