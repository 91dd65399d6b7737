import type { Live } from '../follow';

const says: Record<Live, string> = {
  connecting: 'Connecting…',
  live: 'Live',
  reconnecting: 'Reconnecting…',
  ended: 'Not live',
};

// LiveMark says whether what is shown is followed, or may be old.
export function LiveMark({ live }: { live: Live }) {
  return (
    <span class={`live ${live}`} role="status">
      <i aria-hidden="true" />
      {says[live]}
    </span>
  );
}
