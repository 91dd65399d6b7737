import type { ComponentChildren } from 'preact';
import { memo } from './memo';

export interface Column<T> {
  name: string; // stands above the column, and at phone width before each cell
  of: (row: T) => ComponentChildren;
  class?: 'number' | 'wide';
}

// Table becomes a list of cards at phone width. The roles keep it a table for screen readers, whatever its style does.
export function Table<T>({ caption, columns, rows, keyOf, empty }: {
  caption: string;
  columns: Column<T>[];
  rows: T[];
  keyOf: (row: T) => string | number;
  empty: ComponentChildren;
}) {
  if (rows.length === 0) return <p class="faint">{empty}</p>;
  return (
    <table role="table">
      <caption class="unseen">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map((c) => (
            <th role="columnheader" scope="col" key={c.name} class={c.class}>
              {c.name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row) => (
          <Row key={keyOf(row)} row={row} columns={columns as Column<unknown>[]} />
        ))}
      </tbody>
    </table>
  );
}

// A row is drawn again if it or the columns changed: long tables stay fast while their first rows change.
const Row = memo(function Row({ row, columns }: { row: unknown; columns: Column<unknown>[] }) {
  return (
    <tr role="row">
      {columns.map((c) => (
        <td role="cell" key={c.name} class={c.class} data-name={c.name}>
          {c.of(row)}
        </td>
      ))}
    </tr>
  );
});
