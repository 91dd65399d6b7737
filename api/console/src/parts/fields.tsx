import type { ComponentChildren } from 'preact';
import { useId, useState } from 'preact/hooks';
import { count, money, parseAmount } from '../amount';

// A field's value, or undefined while it is a mistake. An optional field that is empty has the value null.
type Read<T> = T | null | undefined;

export interface Field<T> {
  text: string;
  set: (text: string) => void;
  value: Read<T>;
  hint: string; // what was understood, or what is wrong
  wrong: boolean;
}

// useAmount reads an amount in the currency's major unit and says which integer it is.
export function useAmount(currency: string, optional = ''): Field<number> {
  const [text, set] = useState('');
  const read = parseAmount(text, currency);
  if (text.trim() === '') return { text, set, value: optional ? null : undefined, hint: optional, wrong: false };
  if ('mistake' in read) return { text, set, value: undefined, hint: read.mistake, wrong: true };
  return { text, set, value: read.minor, hint: `${money(read.minor, currency)} = ${count(read.minor)} in the minor unit`, wrong: false };
}

// useText reads a reference: 1 to 128 characters without control characters.
export function useText(optional: boolean, most = 128): Field<string> {
  const [text, set] = useState('');
  const value = text.trim();
  const long = [...value].length > most;
  if (value === '') return { text, set, value: optional ? null : undefined, hint: '', wrong: false };
  return { text, set, value: long ? undefined : value, hint: long ? `${most} characters at most` : '', wrong: long };
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function isUUID(text: string): boolean {
  return uuid.test(text);
}

export function useUUID(optional = ''): Field<string> {
  const [text, set] = useState('');
  const value = text.trim();
  if (value === '') return { text, set, value: optional ? null : undefined, hint: optional, wrong: false };
  const wrong = !isUUID(value);
  return { text, set, value: wrong ? undefined : value.toLowerCase(), hint: wrong ? 'An id looks like 7d1c4f0e-5a0b-4c7e-9d53-0f6f5c1b2a3d.' : '', wrong };
}

// useMoment reads a time in the reader's own zone.
export function useMoment(optional = ''): Field<string> {
  const [text, set] = useState('');
  if (text === '') return { text, set, value: optional ? null : undefined, hint: optional, wrong: false };
  const at = new Date(text);
  const wrong = Number.isNaN(at.getTime());
  return { text, set, value: wrong ? undefined : at.toISOString(), hint: wrong ? 'This is no time.' : at.toISOString(), wrong };
}

export function FieldOf({ label, field, inputMode, type = 'text', required = false, children }: {
  label: string;
  field: Field<unknown>;
  inputMode?: 'decimal' | 'text';
  type?: 'text' | 'datetime-local' | 'url';
  required?: boolean;
  children?: ComponentChildren;
}) {
  const id = useId();
  return (
    <label>
      <span id={`${id}name`}>
        {label}
        {!required && <span class="faint"> (optional)</span>}
      </span>
      <input
        aria-labelledby={`${id}name`} // not also the hint, which changes as one types
        type={type as 'text'}
        inputMode={inputMode}
        value={field.text}
        required={required}
        step={type === 'datetime-local' ? 1 : undefined}
        autoComplete="off"
        spellcheck={false}
        aria-describedby={id}
        aria-invalid={field.wrong}
        onInput={(e) => field.set(e.currentTarget.value)}
      />
      <span class={`hint ${field.wrong ? 'wrong' : ''}`} id={id}>
        {field.hint || children}
      </span>
    </label>
  );
}
