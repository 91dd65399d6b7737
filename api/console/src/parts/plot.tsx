import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';

export interface Series {
  name: string;
  values: (number | null)[];
  color: 'accent' | 'good' | 'wait' | 'bad';
  stepped?: boolean; // the value holds until the next one
}

// Plot draws series over x. What it shows is said in `says` for those who do not see it. Under the pointer, `at` says
// what a point is.
export function Plot({ says, x, time = false, series, y, at, fromZero = false, width = 0, height = 220 }: {
  says: string;
  x: number[];
  time?: boolean; // x is in seconds since 1970
  series: Series[];
  y: (value: number) => string;
  at: (index: number) => string;
  fromZero?: boolean; // else the axis begins at the least value
  width?: number; // of x, at least: few points stand at its end
  height?: number;
}) {
  const box = useRef<HTMLDivElement>(null);
  const note = useRef<HTMLParagraphElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const now = useRef({ y, at });
  now.current = { y, at };
  const data: uPlot.AlignedData = [x, ...series.map((s) => s.values)];
  const latest = useRef(data);
  latest.current = data;
  // A plot keeps its series: other ones are another plot.
  const shape = JSON.stringify([time, height, series.map(({ name, color, stepped }) => [name, color, stepped])]);

  useEffect(() => {
    const parent = box.current!;
    const draw = () => {
      const ink = paint(parent, 'var(--faint)');
      const line = paint(parent, 'var(--line)');
      const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: '12px system-ui, sans-serif' };
      const whole = time ? {} : { incrs: wholeSteps, values: (_: uPlot, ticks: number[]) => ticks.map((v) => v.toLocaleString()) };
      plot.current?.destroy();
      plot.current = new uPlot(
        {
          width: parent.clientWidth,
          height,
          legend: { show: false },
          cursor: { drag: { x: false, y: false }, points: { size: 6 } },
          scales: { x: { time, ...(width ? { range: (_: uPlot, first: number, last: number): [number, number] => [Math.min(first, last - width), last] } : {}) }, ...(fromZero ? { y: { range: aboveZero } } : {}) },
          axes: [
            { ...axis, ...whole, size: 32 },
            { ...axis, size: (_, ticks) => 20 + 7 * Math.max(4, ...(ticks ?? []).map((t) => t.length)), incrs: wholeSteps, values: (_, ticks) => ticks.map((v) => now.current.y(Math.round(v))) },
          ],
          series: [
            {},
            ...series.map((s) => ({
              label: s.name,
              stroke: paint(parent, `var(--${s.color})`),
              width: 2,
              points: { show: false },
              ...(s.stepped && uPlot.paths.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
            })),
          ],
          hooks: {
            setCursor: [
              (u) => {
                if (note.current) note.current.textContent = u.cursor.idx == null ? '\u00a0' : now.current.at(u.cursor.idx);
              },
            ],
          },
        },
        latest.current,
        parent,
      );
    };
    draw();
    const sized = new ResizeObserver(() => plot.current?.setSize({ width: parent.clientWidth, height }));
    sized.observe(parent);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', draw);
    return () => {
      sized.disconnect();
      dark.removeEventListener('change', draw);
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data));
  return (
    <figure class="plot">
      {series.length > 1 && (
        <figcaption class="row">
          {series.map((s) => (
            <span key={s.name} class="key-of">
              <i class={s.color} aria-hidden="true" />
              {s.name}
            </span>
          ))}
        </figcaption>
      )}
      <div ref={box} role="img" aria-label={says} />
      <p ref={note} class="faint note" aria-hidden="true">
        &nbsp;
      </p>
    </figure>
  );
}

// A number that is always zero has an axis, too.
function aboveZero(_: uPlot, __: number, most: number | null): [number, number] {
  return [0, Math.max(10, (most ?? 0) * 1.1)];
}

// Amounts and counts are integers: an axis has no ticks between them.
const wholeSteps = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat();

// paint is a colour as a canvas takes it, which knows no variables.
function paint(parent: HTMLElement, color: string): string {
  const probe = document.createElement('i');
  probe.style.color = color;
  parent.append(probe);
  const painted = getComputedStyle(probe).color;
  probe.remove();
  return painted;
}
