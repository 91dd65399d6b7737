export interface ServerEvent {
  event: string;
  id: string;
  data: string;
}

// EventReader reads a stream of server-sent events (WHATWG HTML, 9.2.6) from its pieces. EventSource would, but sends
// no key.
export class EventReader {
  private rest = '';
  private event = '';
  private id = '';
  private data: string[] = [];
  retry: number | undefined; // milliseconds, as the server said last

  read(piece: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    this.rest += piece;
    // A line feed of a \r\n that comes with the next piece would be an empty line: wait for it.
    const whole = this.rest.endsWith('\r') ? this.rest.slice(0, -1) : this.rest;
    const lines = whole.split(/\r\n|\n|\r/);
    this.rest = (lines.pop() ?? '') + this.rest.slice(whole.length);
    for (const line of lines) {
      if (line === '') {
        if (this.data.length > 0) events.push({ event: this.event || 'message', id: this.id, data: this.data.join('\n') });
        this.event = '';
        this.data = [];
        continue;
      }
      const colon = line.indexOf(':');
      if (colon === 0) continue; // a comment, which keeps the connection alive
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'event') this.event = value;
      else if (field === 'data') this.data.push(value);
      else if (field === 'id' && !value.includes('\0')) this.id = value;
      else if (field === 'retry' && /^\d+$/.test(value)) this.retry = Number(value);
    }
    return events;
  }
}
