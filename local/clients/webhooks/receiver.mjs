// A receiver of webhooks, with the library of Standard Webhooks for JavaScript. It prints where it listens, reads its
// secret from the first line that it is given, and prints a line for each delivery.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

let know;
const secret = new Promise((resolve) => { know = resolve; });
const last = new Map(); // of each wallet, the sequence that is known

// take does what docs/events.md asks of every consumer, but for reading what is missing.
function take(message) {
  if (message.type !== "legendary-wallet.wallet.advanced.v1") {
    return `other: ${message.type}`;
  }
  const { walletId, fromSequence, version, balance } = message.data;
  const known = last.get(walletId) ?? 0;
  if (version <= known) {
    return `again: ${walletId}`;
  }
  if (fromSequence > known + 1) {
    return `missing: ${walletId} ${known + 1}`;
  }
  last.set(walletId, version);
  return `taken: ${walletId} ${version} ${balance}`;
}

const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) {
    parts.push(part);
  }
  let status = 204;
  let line;
  try {
    // The signature is of the body as it came, not of what is parsed from it.
    line = take(new Webhook(await secret).verify(Buffer.concat(parts).toString(), request.headers));
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) {
      throw error;
    }
    status = 400;
    line = `refused: ${error.message}`;
  }
  console.log(line);
  response.writeHead(status).end();
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));

const lines = createInterface({ input: process.stdin });
lines.once("line", (line) => know(line.trim()));
lines.once("close", () => process.exit()); // whoever has started it has ended
