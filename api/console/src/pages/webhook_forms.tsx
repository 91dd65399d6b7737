import type { ComponentChildren } from 'preact';
import { useEffect, useId, useState } from 'preact/hooks';
import {
  createWebhook, deleteWebhook, getWebhook, listWebhookAttempts, replayWebhook, rotateWebhookSecret, skipWebhookRun, testWebhook, updateWebhook,
} from '../../client/sdk.gen';
import type { StalledRun, Webhook, WebhookAttempt, WebhookTask } from '../../client/types.gen';
import { ask, type Failure } from '../api';
import { failureOf, repeat } from '../asked';
import { Act } from '../parts/act';
import { announce } from '../parts/announce';
import { Copy } from '../parts/copy';
import { Dialog } from '../parts/dialog';
import { FailureBox } from '../parts/failure';
import { localTime, Time } from '../parts/time';
import { href } from '../route';
import { operationTypes } from '../words';

interface Form {
  webhook: Webhook;
  changed: () => void;
  onClose: () => void;
}

// Target is what a webhook is made of.
interface Target {
  url: string;
  description: string;
  wallets: string[];
  types: string[];
}

export function NewWebhook({ changed, onClose }: { changed: () => void; onClose: () => void }) {
  const [target, setTarget] = useState<Target>({ url: '', description: '', wallets: [], types: [] });
  const [asked, setAsked] = useState(false);
  return (
    <Dialog title="New webhook" onClose={onClose}>
      {!asked && <TargetForm target={target} onSubmit={(t) => (setTarget(t), setAsked(true))} />}
      {asked && (
        <Act
          says={
            <>
              <p>
                From now on the outcomes of {target.wallets.length > 0 ? `${target.wallets.length} wallets` : "all of the tenant's wallets"} are posted to
              </p>
              <p>
                <code>{target.url}</code>
              </p>
              {target.types.length > 0 && <p>Only runs with one of {target.types.join(', ')}.</p>}
            </>
          }
          button="Create the webhook"
          back={() => setAsked(false)}
          send={async (key) => {
            const { url, description, wallets, types } = target;
            const body = { url, ...(description && { description }), ...(wallets.length > 0 && { wallets }), ...(types.length > 0 && { types }) };
            const made = await ask(createWebhook({ body: body as { url: string }, headers: { 'Idempotency-Key': key } }));
            changed();
            return made;
          }}
          outcome={(made) => (
            <div class="act">
              <p>The webhook is there.</p>
              <Secret webhook={made} />
              <footer>
                <a class="button" href={href('webhooks', made.id)}>
                  See the webhook
                </a>
                <Done onClose={onClose} />
              </footer>
            </div>
          )}
        />
      )}
    </Dialog>
  );
}

// Secret shows a new secret, once. An answer that was lost, and asked for again, has none.
function Secret({ webhook: { secret } }: { webhook: Webhook }) {
  if (!secret) return <p class="notice">Its secret was in an answer that was lost. Exchange the secret to have one.</p>;
  return (
    <div class="notice">
      <p>
        <strong>This is the only time that the secret is shown.</strong> The receiver verifies the signatures with it.
      </p>
      <p>
        <code>{secret}</code> <Copy text={secret} what="the secret" />
      </p>
    </div>
  );
}

// TargetForm is about what is delivered, and where to.
function TargetForm({ target, onSubmit }: { target: Target; onSubmit: (target: Target) => void }) {
  const [url, setURL] = useState(target.url);
  const [description, setDescription] = useState(target.description);
  const [wallets, setWallets] = useState(target.wallets.join('\n'));
  const [types, setTypes] = useState(target.types);
  const id = useId();
  const submit = (event: Event) => {
    event.preventDefault();
    onSubmit({ url: url.trim(), description: description.trim(), wallets: wallets.split(/[\s,]+/).filter(Boolean), types });
  };
  return (
    <form onSubmit={submit}>
      <label>
        URL
        <input type="url" required maxLength={2048} value={url} onInput={(e) => setURL(e.currentTarget.value)} placeholder="https://shop.example/hooks/wallet" spellcheck={false} />
      </label>
      <label>
        Description
        <input maxLength={200} value={description} onInput={(e) => setDescription(e.currentTarget.value)} />
      </label>
      <label>
        Only these wallets
        <textarea rows={2} value={wallets} onInput={(e) => setWallets(e.currentTarget.value)} aria-describedby={id} spellcheck={false} />
      </label>
      <p class="hint" id={id}>
        Ids, up to 100. Empty: all of the tenant's.
      </p>
      <fieldset>
        <legend>Only runs with one of these types. None: all.</legend>
        <div class="checks">
          {operationTypes.map((type) => (
            <label class="check" key={type}>
              <input
                type="checkbox"
                checked={types.includes(type)}
                onChange={(e) => setTypes(e.currentTarget.checked ? [...types, type] : types.filter((t) => t !== type))}
              />
              {type}
            </label>
          ))}
        </div>
      </fieldset>
      <footer>
        <button class="primary">Continue</button>
      </footer>
    </form>
  );
}

export function Change({ webhook, changed, onClose }: Form) {
  const [target, setTarget] = useState<Target>({
    url: webhook.url, description: webhook.description ?? '', wallets: webhook.wallets ?? [], types: webhook.types ?? [],
  });
  const [asked, setAsked] = useState(false);
  return (
    <Dialog title="Change the webhook" onClose={onClose}>
      {!asked && <TargetForm target={target} onSubmit={(t) => (setTarget(t), setAsked(true))} />}
      {asked && (
        <Act
          says={
            <>
              <p>Within seconds the outcomes go to</p>
              <p>
                <code>{target.url}</code>
              </p>
              <p>
                Wallets: {target.wallets.length || 'all'}. Types: {target.types.join(', ') || 'all'}.
              </p>
            </>
          }
          button="Change it"
          back={() => setAsked(false)}
          send={async () => {
            const { url, description, wallets, types } = target;
            const made = await ask(
              updateWebhook({
                path: { id: webhook.id },
                body: { url, description: description || null, wallets: wallets.length > 0 ? wallets : null, types: types.length > 0 ? types : null } as object,
              }),
            );
            changed();
            return made;
          }}
          outcome={() => <Said onClose={onClose}>It is changed, and counts within seconds.</Said>}
        />
      )}
    </Dialog>
  );
}

export function Test({ webhook, changed, onClose }: Form) {
  return (
    <Dialog title="Send a test" onClose={onClose}>
      <Act
        says={
          <p>
            A signed message without money in it is posted to <code>{webhook.url}</code>, once.
          </p>
        }
        button="Send the test"
        send={() => ask(testWebhook({ path: { id: webhook.id } }))}
        outcome={(task) => (
          <Followed webhook={webhook} task={task} changed={changed} onClose={onClose}>
            {(attempt) =>
              attempt ? (
                <p>
                  {attempt.error ? 'The receiver did not take it: ' : 'The receiver took it: '}
                  <span class={`badge ${attempt.error ? 'bad' : 'good'}`}>{attempt.status ?? 'no answer'}</span> in {attempt.milliseconds} ms. {attempt.error}
                </p>
              ) : (
                <p>It is sent. The attempts will say what came of it.</p>
              )
            }
          </Followed>
        )}
      />
    </Dialog>
  );
}

export function Replay({ webhook, changed, onClose }: Form) {
  const [since, setSince] = useState(() => localTime(new Date(Date.now() - 3_600_000)));
  const [asked, setAsked] = useState(false);
  const moment = new Date(since);
  const id = useId();
  return (
    <Dialog title="Replay" onClose={onClose}>
      {!asked && (
        <form onSubmit={(e) => (e.preventDefault(), setAsked(true))}>
          <label>
            Since
            <input type="datetime-local" step="1" required value={since} max={localTime(new Date())} onInput={(e) => setSince(e.currentTarget.value)} aria-describedby={id} />
          </label>
          <p class="hint" id={id}>
            In your time zone.{' '}
            {webhook.logBegins && (
              <>
                The log begins <Time at={webhook.logBegins} />.
              </>
            )}
          </p>
          <footer>
            <button class="primary">Continue</button>
          </footer>
        </form>
      )}
      {asked && (
        <Act
          says={
            <>
              <p>
                What was applied since <Time at={moment.toISOString()} /> is posted to <code>{webhook.url}</code> again, and then what comes.
              </p>
              <p>The receiver gets what it has already taken a second time.</p>
            </>
          }
          button="Replay"
          back={() => setAsked(false)}
          send={() => ask(replayWebhook({ path: { id: webhook.id }, body: { since: moment.toISOString() } }))}
          outcome={(task) => (
            <Followed webhook={webhook} task={task} changed={changed} onClose={onClose}>
              {() => <p>It has gone back. The attempts show what is delivered again.</p>}
            </Followed>
          )}
        />
      )}
    </Dialog>
  );
}

export function Switch({ webhook, changed, onClose }: Form) {
  const { enabled } = webhook;
  return (
    <Dialog title={enabled ? 'Disable the webhook' : 'Enable the webhook'} onClose={onClose}>
      <Act
        says={
          <p>
            {enabled
              ? 'Nothing more is delivered. It keeps its place in the log, as long as the log reaches back.'
              : 'It goes on at its place in the log: what has happened meanwhile is delivered first.'}
          </p>
        }
        button={enabled ? 'Disable' : 'Enable'}
        danger={enabled}
        send={async () => {
          const made = await ask(updateWebhook({ path: { id: webhook.id }, body: { enabled: !enabled } }));
          changed();
          return made;
        }}
        outcome={() => <Said onClose={onClose}>{enabled ? 'It is disabled within seconds.' : 'It goes on within seconds.'}</Said>}
      />
    </Dialog>
  );
}

export function Rotate({ webhook, changed, onClose }: Form) {
  return (
    <Dialog title="Exchange the secret" onClose={onClose}>
      <Act
        says={
          <>
            <p>There is a new secret, which is shown once. For 24 hours deliveries are signed by the one before it, too.</p>
            <p>Give the new one to the receiver within that time.</p>
          </>
        }
        button="Exchange the secret"
        danger
        send={async () => {
          const made = await ask(rotateWebhookSecret({ path: { id: webhook.id } }));
          changed();
          return made;
        }}
        outcome={(made) => (
          <div class="act">
            <Secret webhook={made} />
            <footer>
              <Done onClose={onClose} />
            </footer>
          </div>
        )}
      />
    </Dialog>
  );
}

export function Delete({ webhook, deleted, onClose }: { webhook: Webhook; deleted: () => void; onClose: () => void }) {
  return (
    <Dialog title="Delete the webhook" onClose={onClose}>
      <Act
        says={
          <>
            <p>
              Nothing more is delivered to <code>{webhook.url}</code>. Its place in the log is forgotten, and its secret.
            </p>
            <p>To have it pause, disable it.</p>
          </>
        }
        button="Delete"
        danger
        send={async () => {
          await ask(deleteWebhook({ path: { id: webhook.id } }));
          deleted();
        }}
        outcome={() => <Said onClose={onClose}>It is deleted.</Said>}
      />
    </Dialog>
  );
}

export function Skip({ webhook, run, changed, onClose }: Form & { run: StalledRun }) {
  return (
    <Dialog title="Skip a run" onClose={onClose}>
      <Act
        says={
          <>
            <p>
              {run.fromSequence === run.version ? `Operation ${run.version}` : `Operations ${run.fromSequence} to ${run.version}`} of wallet <code>{run.walletId}</code>{' '}
              will not be delivered. What follows goes on.
            </p>
            <p>It is listed as skipped, and a replay delivers it again.</p>
          </>
        }
        button="Skip"
        danger
        send={() => ask(skipWebhookRun({ path: { id: webhook.id }, body: { run: run.run } }))}
        outcome={(task) => (
          <Followed webhook={webhook} task={task} changed={changed} onClose={onClose}>
            {() => <p>It is skipped.</p>}
          </Followed>
        )}
      />
    </Dialog>
  );
}

const soon = 1000;
const patience = 20; // looks for the attempt of a test that is done: a receiver may take 15 s

// Followed waits until hooks has done what it was asked for. Of a test it also waits for the attempt.
function Followed({ webhook: { id }, task, changed, onClose, children }: {
  webhook: Webhook;
  task: WebhookTask;
  changed: () => void;
  onClose: () => void;
  children: (attempt: WebhookAttempt | undefined) => ComponentChildren;
}) {
  const [done, setDone] = useState(false);
  const [attempt, setAttempt] = useState<WebhookAttempt>();
  const [failure, setFailure] = useState<Failure>();
  const [looks, setLooks] = useState(0);
  const over = done && (!task.messageId || attempt !== undefined || looks > patience);
  useEffect(() => {
    if (over) return;
    return repeat(async () => {
      try {
        const now = await ask(getWebhook({ path: { id } }));
        if ((now.lastRequestId ?? 0) >= task.requestId) {
          setDone(true);
          setLooks((n) => n + 1);
        }
        if (task.messageId) {
          const { items } = await ask(listWebhookAttempts({ path: { id } }));
          setAttempt(items.find((a) => a.messageId === task.messageId));
        }
        setFailure(undefined);
      } catch (error) {
        setFailure(failureOf(error));
      }
    }, soon);
  }, [over]);
  useEffect(() => {
    if (!over) return;
    changed();
    announce('Done');
  }, [over]);
  return (
    <div class="act">
      {failure && <FailureBox failure={failure} />}
      {over ? children(attempt) : <p aria-busy="true">It is asked for. It is done within seconds…</p>}
      <footer>
        <Done onClose={onClose} />
      </footer>
    </div>
  );
}

function Said({ children, onClose }: { children: ComponentChildren; onClose: () => void }) {
  return (
    <div class="act">
      <p role="status">{children}</p>
      <footer>
        <Done onClose={onClose} />
      </footer>
    </div>
  );
}

function Done({ onClose }: { onClose: () => void }) {
  return (
    <button type="button" class="primary" onClick={onClose}>
      Done
    </button>
  );
}
