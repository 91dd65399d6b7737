import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventReader } from './sse';

const stream = ': hello\nretry: 1480\n\nevent: balance\nid: 7\ndata: {"version":\ndata: 7}\n\ndata\nevent\n\nid: 8\r\ndata:  x\r\ndata: z\r\n\r\nretry: soon\ndata: y\r\rdata: cut off';
const want = [
  { event: 'balance', id: '7', data: '{"version":\n7}' },
  { event: 'message', id: '7', data: '' },
  { event: 'message', id: '8', data: ' x\nz' },
  { event: 'message', id: '8', data: 'y' },
];

test('events are the same wherever the stream is cut into pieces', () => {
  for (let size = 1; size <= stream.length; size++) {
    const reader = new EventReader();
    const got = [];
    for (let i = 0; i < stream.length; i += size) got.push(...reader.read(stream.slice(i, i + size)));
    assert.deepEqual(got, want, `pieces of ${size}`);
    assert.equal(reader.retry, 1480);
  }
});
