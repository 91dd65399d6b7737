import { useEffect, useState } from 'preact/hooks';

const format = new Intl.DateTimeFormat(undefined, {
  year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
});

// Time is a time of the API in the reader's own zone. Its title is what the API said.
export function Time({ at }: { at: string | undefined }) {
  if (!at) return <span class="faint">—</span>;
  const time = new Date(at);
  return (
    <time dateTime={at} title={at}>
      {Number.isNaN(time.getTime()) ? at : format.format(time)}
    </time>
  );
}

// localTime is a time as fields of the type datetime-local have it, in the reader's own zone.
export function localTime(time: Date): string {
  return new Date(time.getTime() - time.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

// useNow is the time, renewed every so many milliseconds.
export function useNow(every = 1000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

// duration is a length of time in its two largest units: 2 h 5 min.
export function duration(milliseconds: number): string {
  const ms = Math.abs(milliseconds);
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

// Countdown is how long it is until a time.
export function Countdown({ until }: { until: string }) {
  const left = new Date(until).getTime() - useNow();
  return (
    <time dateTime={until} title={until} class={left < 60_000 ? 'urgent' : ''}>
      {left > 0 ? `in ${duration(Math.max(left, 1000))}` : 'expired'}
    </time>
  );
}
