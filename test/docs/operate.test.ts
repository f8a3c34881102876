import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { request } from 'undici';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { errorCodes } from '../../core/contracts/errors.ts';
import { testGateway } from '../support/gateway.ts';
import { describeWithBroker } from '../support/with-broker.ts';

const root = join(import.meta.dirname, '../..');
const file = join(root, 'docs/prometheus/alerts.yaml');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

interface Rule {
  readonly alert: string;
  readonly expr: string;
}
const { rules } = (parse(readFileSync(file, 'utf8')) as { groups: [{ rules: Rule[] }] }).groups[0];

/** Metrics that the rules ask for and the text of a gateway does not have. */
function missing(metrics: string, asked: readonly Rule[]): readonly string[] {
  const known = new Set([...metrics.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name));
  const names = asked.flatMap(({ expr }) => expr.match(/\bmillrace_\w+/g) ?? []);
  return names.filter((name) => !known.has(name));
}

await describeWithBroker('nats', 'the alerts', (url) => {
  it('ask for metrics that there are, and one that there is not is found', async () => {
    await using gateway = await testGateway(`connections: { main: { kind: nats, servers: "${url}" } }
functions: { echo: { behaviour: echo } }
`);
    const { body } = await request(`${gateway.gateway.managementUrl}/metrics`);
    const metrics = await body.text();
    expect(missing(metrics, rules)).toEqual([]);
    const planted = { alert: 'Planted', expr: 'rate(millrace_queue_lost_total[5m]) > 0' };
    expect(missing(metrics, [...rules, planted])).toEqual(['millrace_queue_lost_total']);
  });
});

describe('the alerts', () => {
  it('of the chart are among them, for one cluster', () => {
    const chart = read('deploy/helm/millrace/templates/prometheusrule.yaml');
    const ofChart = [...chart.matchAll(/alert: (\w+)\n\s+expr: (.+)$/gm)].map(([, alert = '', expr = '']) => ({
      alert,
      expr: expr.replaceAll(', namespace', '').replaceAll('(pod)', '(instance)'),
    }));
    expect(ofChart.length).toBeGreaterThan(4);
    expect(rules).toEqual(expect.arrayContaining(ofChart.map((rule) => expect.objectContaining(rule))));
  });
  it('each have a line in docs/operate.md', () => {
    const named = [...read('docs/operate.md').matchAll(/^\| `(Millrace\w+)` \|/gm)].map(([, name]) => name);
    expect(named).toEqual(rules.map(({ alert }) => alert));
  });
  it('are rules to promtool', async ({ skip }) => {
    const checked = await promisify(execFile)('promtool', ['check', 'rules', file]).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return skip('promtool is not on the PATH');
      throw error;
    });
    expect(checked.stdout).toContain(`SUCCESS: ${rules.length} rules found`);
  });
});

describe('the runbook', () => {
  /** Codes without a cause and a remedy under a heading of their own. */
  const without = (page: string): readonly string[] =>
    Object.keys(errorCodes).filter(
      (code) => !page.split('\n### ').some((entry) => /^.+\n\n.+\n\n.+/.test(entry) && entry.startsWith(`${code}\n`)),
    );
  it('has what to do about each error, and misses one that is taken out', () => {
    const page = read('docs/errors.md');
    expect(without(page)).toEqual([]);
    expect(without(page.replace('### queue.full\n', ''))).toEqual(['queue.full']);
  });
});
