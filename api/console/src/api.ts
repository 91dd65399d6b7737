// Everything that the console asks of the api goes through ask, so that every page meets the same errors.
import { client } from '../client/client.gen';
import { getKey } from '../client/sdk.gen';
import type { Key, Problem } from '../client/types.gen';
import { end, session } from './session';

// base is the path of the api: the console's own, less console/.
export const base = new URL('..', location.href).pathname.replace(/\/$/, '');

// longestAnswer bounds a request: the api holds an answer back for 30 s at most, and needs 15 s at most itself.
const longestAnswer = 50_000;

client.setConfig({
  baseUrl: base,
  auth: () => session.get()?.key || undefined,
  fetch: (request) => {
    const timeout = AbortSignal.timeout(longestAnswer);
    const signal = request instanceof Request ? AbortSignal.any([request.signal, timeout]) : timeout;
    return fetch(request, { signal, cache: 'no-store', credentials: 'omit', redirect: 'error' });
  },
});

// Failure is a request that was not done, or of which that is not known.
export class Failure extends Error {
  constructor(
    message: string,
    readonly status: number, // 0: there was no answer
    readonly problem?: Problem,
    readonly requestId?: string,
    readonly retryAfter?: number, // seconds
  ) {
    super(message);
  }

  get code(): string {
    return this.problem?.code ?? '';
  }

  // mayPass: another try may be answered otherwise. There was no answer, or the server or a proxy is not well.
  get mayPass(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }

  // unsure: it may have been done all the same. Sending it again with its key is safe.
  get unsure(): boolean {
    return this.status === 0 || this.code === 'outcome-unknown' || (this.status >= 500 && this.code !== 'overloaded');
  }
}

interface Answer<T> {
  data?: T | undefined;
  error?: unknown;
  request?: Request | undefined;
  response?: Response | undefined;
}

// ask returns what the api answers, or throws a Failure. An answer that the key is unknown ends the session.
export async function ask<T>(request: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await request;
  } catch (error) {
    throw unanswered(error);
  }
  if (answer.error === undefined) return answer.data as T;
  // An answer that is cut off says nothing, whatever its status.
  if (!answer.response || answer.response.ok) throw unanswered(answer.error);
  throw refused(answer.response, answer.error, answer.request?.headers.get('Authorization')?.replace('Bearer ', ''));
}

// unlessMissing is undefined for what is not here. The id of an operation may look like that of another cell's wallet.
export async function unlessMissing<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Failure && (error.status === 404 || error.code === 'wrong-cell')) return undefined;
    throw error;
  }
}

// refused makes a Failure of an answer to a request with this key. What stands between here and the api may answer
// without a problem document.
export function refused(response: Response, body: unknown, key: string | undefined): Failure {
  const problem = isProblem(body) ? body : undefined;
  const requestId = response.headers.get('X-Request-Id') ?? undefined;
  const retryAfter = Number(response.headers.get('Retry-After')) || undefined;
  const failure = new Failure(problem?.title ?? `Status ${response.status}`, response.status, problem, requestId, retryAfter);
  if (response.status === 401 && session.get()?.key === key) end('Your API key is not valid any more. It may have been revoked.');
  return failure;
}

function unanswered(error: unknown): Failure {
  const late = error instanceof DOMException && error.name === 'TimeoutError';
  return new Failure(late ? 'No answer in time' : navigator.onLine ? 'The API cannot be reached' : 'This computer is offline', 0);
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'code' in body && 'title' in body;
}

// newKey is a fresh Idempotency-Key, a random UUID. crypto.randomUUID is not there on pages without TLS.
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

// whoHas returns whose key it is and what it may do. It throws the 401 of a key that is none.
export async function whoHas(key: string): Promise<Key> {
  return ask(getKey({ auth: key || undefined }));
}
