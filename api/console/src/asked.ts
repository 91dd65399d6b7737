import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { Failure } from './api';

export interface Asked<T> {
  data: T | undefined; // the last one, also while a later request fails
  failure: Failure | undefined; // of the last request
  loading: boolean;
  reload: () => Promise<void>;
}

const failurePause = 5000; // or as long as the server asked for

// useAsked asks when the page is opened and whenever dependencies change, and again every so many milliseconds if
// `every` is given, while the page is visible; after a failure that may pass in any case. A late answer of an earlier
// question is dropped.
export function useAsked<T>(load: () => Promise<T>, dependencies: unknown[], every?: number): Asked<T> {
  const [state, setState] = useState<{ data?: T; failure?: Failure; loading: boolean }>({ loading: true });
  const question = useRef(0);
  const reload = useCallback(async () => {
    const mine = ++question.current;
    setState((before) => ({ ...before, loading: true }));
    try {
      const data = await load();
      if (mine === question.current) setState({ data, loading: false });
    } catch (error) {
      const failure = failureOf(error);
      if (mine === question.current) setState((before) => ({ ...before, failure, loading: false }));
    }
  }, dependencies);
  useEffect(() => {
    setState({ loading: true });
    void reload();
    return () => void ++question.current;
  }, [reload]);
  const pause = every ?? (state.failure?.mayPass ? Math.max(failurePause, (state.failure.retryAfter ?? 0) * 1000) : undefined);
  useEffect(() => {
    if (pause === undefined) return;
    return repeat(reload, pause);
  }, [reload, pause]);
  return { data: state.data, failure: state.failure, loading: state.loading, reload };
}

// repeat calls again and again, a pause after the end of each call, while the page is visible; at once when it
// becomes visible again.
export function repeat(call: () => Promise<void>, pause: number): () => void {
  let timer = 0;
  let busy = false;
  let over = false;
  const next = async () => {
    clearTimeout(timer);
    if (busy || over) return;
    if (!document.hidden) {
      busy = true;
      await call();
      busy = false;
    }
    if (!over) timer = window.setTimeout(next, pause);
  };
  const seen = () => {
    if (!document.hidden) void next();
  };
  timer = window.setTimeout(next, pause);
  document.addEventListener('visibilitychange', seen);
  return () => {
    over = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', seen);
  };
}

// useSpaced calls when a value changes, at most once per so many milliseconds, and always after the last change.
export function useSpaced(call: () => Promise<void>, value: unknown, milliseconds: number): void {
  const last = useRef(0);
  const timer = useRef(0);
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    if (timer.current) return;
    timer.current = window.setTimeout(
      () => {
        timer.current = 0;
        last.current = Date.now();
        void call();
      },
      Math.max(0, last.current + milliseconds - Date.now()),
    );
  }, [value]);
  useEffect(
    () => () => {
      clearTimeout(timer.current);
      timer.current = 0;
    },
    [call],
  );
}

// failureOf is an error as pages show it. What is no Failure is a mistake of the console.
export function failureOf(error: unknown): Failure {
  if (error instanceof Failure) return error;
  console.error(error);
  return new Failure('The console made a mistake', 0);
}
