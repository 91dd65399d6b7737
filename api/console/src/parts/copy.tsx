import { useEffect, useState } from 'preact/hooks';
import { announce } from './announce';
import { Icon } from './icon';

// Copy is a button that copies a text. Pages without TLS have no clipboard API.
export function Copy({ text, what }: { text: string; what: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    await write(text);
    setCopied(true);
    announce(`Copied ${what}`);
  };
  return (
    <button type="button" class="quiet copy" aria-label={`Copy ${what}`} title={`Copy ${what}`} onClick={() => void copy()}>
      <Icon of={copied ? 'done' : 'copy'} />
    </button>
  );
}

async function write(text: string): Promise<void> {
  if (navigator.clipboard) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch {
      // not allowed
    }
  }
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'unseen';
  (document.querySelector('dialog[open]') ?? document.body).append(area); // a dialog keeps the focus from what is behind it
  area.select();
  document.execCommand('copy');
  area.remove();
}

// Id is an id with its copy button, and a link if it leads somewhere. Only its ends are shown where there is no room.
export function Id({ id, what, to, short = false }: { id: string; what: string; to?: string; short?: boolean }) {
  const shown = <code title={id}>{short ? `${id.slice(0, 8)}…${id.slice(-4)}` : id}</code>;
  return (
    <span class="id">
      {to ? <a href={to}>{shown}</a> : shown}
      <Copy text={id} what={what} />
    </span>
  );
}
