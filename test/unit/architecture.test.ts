import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');

/**
 * What works over a connection may know its types: nothing of that is left when the file runs. `import { type … }` would
 * still load the other plugin.
 */
const typesOfConnections = /import type [^;]*? from '(?:\.\.\/)+(?:plugins\/)?connections\/[^']+';/g;

/** Every source file with the files of ours that it imports, both relative to the repository. */
const imports = new Map(
  globSync('{core,connectors,plugins}/**/*.ts', { cwd: root }).map((file) => {
    const text = readFileSync(join(root, file), 'utf8').replaceAll(typesOfConnections, '');
    const targets = [...text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g)].map(([, target]) =>
      relative(root, join(root, dirname(file), target ?? '')),
    );
    return [file, targets] as const;
  }),
);

/** What of the core a connector or a plugin may use. */
const open = /^core\/(contracts\/|kit\/|config\/units\.ts$|ledger\/|delivery\/failpoint\.ts$|host\/registry\.ts$)/;

function offenders(from: RegExp, allowed: (target: string, file: string) => boolean): string[] {
  return [...imports].flatMap(([file, targets]) =>
    from.test(file) ? targets.filter((target) => !allowed(target, file)).map((target) => `${file} → ${target}`) : [],
  );
}

describe('imports go downwards only', () => {
  it('are found at all', () => {
    expect(imports.size).toBeGreaterThan(80);
    expect(imports.get('core/pipeline/pipeline.ts')).toContain('core/pipeline/analyze.ts');
  });
  it('core knows no connector and no plugin, but for program', () => {
    expect(
      offenders(/^core\/(?!program\.ts)/, (target) => target.startsWith('core/') || target === 'package.json'),
    ).toEqual([]);
  });
  it('contracts know nothing but contracts', () => {
    expect(offenders(/^core\/contracts\//, (target) => target.startsWith('core/contracts/'))).toEqual([]);
  });
  it('connectors and plugins know contracts and kit, and never each other', () => {
    const folderOf = (file: string): string =>
      file
        .split('/')
        .slice(0, file.startsWith('plugins/') ? 3 : 2)
        .join('/');
    const own = (target: string, file: string): boolean => target.startsWith(`${folderOf(file)}/`);
    const registries = /^(connectors|plugins\/[a-z]+)\/index\.ts$/;
    const others = offenders(
      /^(connectors|plugins)\//,
      (target, file) => registries.test(file) || open.test(target) || own(target, file),
    );
    expect(others).toEqual([]);
  });
  it('plugins may name the types of connections, and nothing else of them', () => {
    const left = (line: string): string => line.replaceAll(typesOfConnections, '');
    expect(left("import type { Nats } from '../../connections/nats/index.ts';")).toBe('');
    expect(left("import type {\n  Nats,\n} from '../../plugins/connections/nats/connection.ts';")).toBe('');
    for (const line of [
      "import { type Nats } from '../../connections/nats/index.ts';",
      "import nats from '../../connections/nats/index.ts';",
      "import type { Lane } from '../../queues/memory/lane.ts';",
      "import type { A } from './a.ts';\nimport nats from '../../connections/nats/index.ts';",
    ]) {
      expect(left(line)).toBe(line);
    }
  });
  const usersOf = (what: RegExp): string[] =>
    [...imports.keys()].filter((file) => what.test(readFileSync(join(root, file), 'utf8')));

  it('tsyringe is imported in the composition root only', () => {
    expect(usersOf(/from 'tsyringe'/)).toEqual(['core/host/container.ts']);
  });
  it.each([
    ['node:http', 'core/kit/http.ts', "import { get, type Server } from 'node:http';"],
    ['rxjs', 'core/kit/rxjs.ts', "import { map } from 'rxjs';"],
    ['prom-client', 'core/observe/prometheus.ts', "import { Counter } from 'prom-client';"],
  ])('%s is loaded by %s only, which loads little of it: a start is short', (name, _loader, other) => {
    const import_ = new RegExp(`^import (?!type )[^;]* from '${name}'`, 'm');
    expect(other).toMatch(import_);
    // What is for tests of others is not loaded by a gateway.
    expect(usersOf(import_).filter((file) => !file.startsWith('core/testing/'))).toEqual([]);
  });
  it.each([
    ['@kubernetes/client-node', /^plugins\/providers\/kubernetes\//, 'plugins/providers/kubernetes/credentials.ts'],
    ['mqtt', /^(plugins\/connections|connectors)\/mqtt\//, 'plugins/connections/mqtt/connection.ts'],
  ])(
    '%s, which may not be there, is loaded by its plugin only, and not before that needs it',
    (name, folder, loader) => {
      expect(usersOf(new RegExp(`from '${name}'`)).filter((file) => !folder.test(file))).toEqual([]);
      expect(usersOf(new RegExp(`^import (?!type )[^;]* from '${name}'`, 'm'))).toEqual([]);
      expect(usersOf(new RegExp(`await import\\('${name}'\\)`))).toEqual([loader]);
    },
  );
});

// Nuclio CVE-2026-29042, Fission CVE-2026-46618: text of a request, or of a deployment, in the hands of a shell.
describe('no shell is given what others say', () => {
  /** How a program is started by a shell, or a text is run as code. */
  const starters =
    /\bshell\s*:\s*(true|['"`])|\{[^}]*\b(exec|execSync|execFile|execFileSync|spawnSync|fork)\b[^}]*\} from 'node:child_process'|\beval\(|new Function\(/;
  const shells = /(['"`])(\/bin\/)?(sh|bash)\1/;
  const texts = [...imports.keys()].map((file) => [file, readFileSync(join(root, file), 'utf8')] as const);
  const having = (what: RegExp): string[] => texts.filter(([, text]) => what.test(text)).map(([file]) => file);

  it('would be seen', () => {
    for (const line of [
      'spawn(command, { shell: true })',
      "import { exec } from 'node:child_process';",
      "import { spawn, execSync } from 'node:child_process';",
      "new Function('return 1')",
    ])
      expect(starters.test(line), line).toBe(true);
  });
  it('by any way to start a program', () => {
    expect(having(starters)).toEqual([]);
    expect(having(/from 'node:child_process'/)).toEqual([
      'plugins/providers/process/group.ts',
      'plugins/providers/process/reaper.ts',
      'core/fronts/front-process.ts',
    ]);
    // No code of others is run by it, which would be a sandbox that is none: a text of ours, which gives V8's collector.
    expect(having(/node:vm/)).toEqual(['core/kit/garbage.ts']);
    const [, vm = ''] = texts.find(([file]) => file === 'core/kit/garbage.ts') ?? [];
    expect(vm).toContain("import { runInNewContext } from 'node:vm';");
    expect([...vm.matchAll(/runInNewContext\(.*?\)/g)].map(([call]) => call)).toEqual(["runInNewContext('gc')"]);
  });
  it('but for two that run a line of our own', () => {
    const own = ['plugins/providers/process/group.ts', 'plugins/providers/process/reaper.ts'];
    expect(having(shells)).toEqual(own);
    for (const file of own) {
      const text = readFileSync(join(root, file), 'utf8');
      const lines = /const joined = (.*);|const script = ([^;]*);/.exec(text);
      expect(lines?.[0], file).toBeDefined();
      expect(lines?.[0], file).not.toMatch(/(?<!\\)\$\{/);
    }
  });
});
