// Bundles src into dist, which is committed and embedded in the api. `node build.mjs test` runs the tests of src
// instead.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';

const shipped = ['preact', 'uplot']; // their licences ask to be with every copy

const common = { bundle: true, format: 'esm', target: 'es2022', jsx: 'automatic', jsxImportSource: 'preact', logLevel: 'warning' };

async function bundle() {
  rmSync('dist', { recursive: true, force: true });
  await build({ ...common, entryPoints: { console: 'src/main.tsx' }, outdir: 'dist', minify: true, legalComments: 'none' });
  writeFileSync('dist/index.html', readFileSync('src/index.html'));
  const licences = shipped.map((name) => `${name}\n\n${readFileSync(`node_modules/${name}/LICENSE`, 'utf8').trim()}\n`);
  writeFileSync('dist/licences.txt', licences.join('\n\n'));
}

async function test() {
  const out = mkdtempSync(join(tmpdir(), 'console-'));
  try {
    const tests = readdirSync('src').filter((name) => name.endsWith('.test.ts')).map((name) => join('src', name));
    await build({ ...common, platform: 'node', entryPoints: tests, outdir: out, outExtension: { '.js': '.mjs' } });
    const run = spawnSync(process.execPath, ['--test', ...readdirSync(out).map((name) => join(out, name))], { stdio: 'inherit' });
    process.exitCode = run.status ?? 1;
  } finally {
    rmSync(out, { recursive: true });
  }
}

await (process.argv[2] === 'test' ? test() : bundle());
