import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { request } from 'undici';
import { describe, expect, it } from 'vitest';
import { eventually } from '../support/gateway.ts';
import { startOpenFaas } from '../support/openfaas.ts';

describe('scaling from and to zero', () => {
  const server = { 'com.openfaas.scale.zero': 'true', 'com.openfaas.scale.zero-duration': '3s' };

  it('starts a replica once for a thousand first calls, and answers all of them', async () => {
    const { faas, folder, gateway } = await startOpenFaas();
    const file = join(folder, 'start');
    writeFileSync(file, '');
    await faas.deploy('cold', 'node-http', { envVars: { START_WHEN: file } });
    await faas.send('POST', '/system/scale-function/cold', { serviceName: 'cold', replicas: 0, namespace: '' });
    const state = async () =>
      JSON.parse((await faas.send('GET', '/system/function/cold')).text) as Record<string, unknown>;
    expect(await state()).toMatchObject({ replicas: 0, availableReplicas: 0, state: 'cold' });
    rmSync(file);
    const calls = Array.from({ length: 1000 }, (_, call) => faas.invoke('cold/pid', String(call)));
    // It starts when all of them are there: who comes after that finds a function that is at work, and its waiting room.
    await eventually(async () => {
      const metrics = await (await request(`${gateway.managementUrl}/metrics`)).body.text();
      return metrics.includes('millrace_waiting_calls{function_name="cold.openfaas-fn"} 1000') ? true : undefined;
    });
    writeFileSync(file, '');
    const answers = await Promise.all(calls);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(new Set(answers.map(({ text }) => text.split(' ')[0])).size).toBe(1); // One process.
  });

  it('goes to zero under slow traffic, and cuts nobody off', async () => {
    const { faas } = await startOpenFaas();
    await faas.deploy('slow', 'node-http', { labels: server });
    const state = async () =>
      JSON.parse((await faas.send('GET', '/system/function/slow')).text) as Record<string, unknown>;
    const pids = new Set<string>();
    const end = Date.now() + 60_000;
    while (pids.size < 3 && Date.now() < end) {
      // Longer than it takes to be idle: it must not count as that.
      const { status, text } = await faas.invoke('slow/pid?ms=4000');
      expect(status).toBe(200);
      pids.add(text.split(' ')[0] ?? '');
      await eventually(async () => ((await state())['replicas'] === 0 ? true : undefined));
    }
    expect(pids.size).toBe(3);
  });
});

describe('metrics under the names of OpenFaaS', () => {
  it('are all that the dashboard asks for', async () => {
    const { gateway, faas } = await startOpenFaas();
    await faas.deploy('up', 'ghcr.io/openfaas/alpine', {
      envProcess: 'cat',
      labels: { 'com.openfaas.scale.max': '2' },
    });
    await faas.invoke('up', 'x');
    await faas.send(
      'GET',
      `/invocations/${String((await faas.invoke('up', 'x', 'async-function')).headers['x-call-id'])}?wait=10s`,
    );
    const metrics = await (await request(`${gateway.managementUrl}/metrics`)).body.text();
    const known = new Set([...metrics.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name));
    const dashboard = readFileSync(join(import.meta.dirname, '../../docs/grafana/millrace.json'), 'utf8');
    const { panels } = JSON.parse(dashboard) as { panels: { targets: { expr: string }[] }[] };
    const asked = panels.flatMap(({ targets }) =>
      targets.flatMap(({ expr }) => [...expr.matchAll(/\b((?:gateway|millrace)_\w+)/g)]),
    );
    const names = new Set(asked.map(([, name = '']) => name.replace(/_bucket$/, '')));
    expect(names.size).toBeGreaterThan(10);
    for (const name of names) expect(known, name).toContain(name);
    for (const line of [
      'gateway_function_invocation_total{function_name="up.openfaas-fn",code="200"} 2',
      'gateway_service_count{function_name="up.openfaas-fn"} 1',
      'gateway_service_target_load{function_name="up.openfaas-fn",scaling_type="rps"} 50',
      'queue_worker_messages_processed_total{queue_name="default"} 1',
      'http_requests_total{method="POST",path="/async-function",status="202"} 1',
      'http_requests_total{method="POST",path="/function/up.openfaas-fn",status="200"} 2',
      'http_requests_in_flight{path="/function/up.openfaas-fn"} 0',
    ])
      expect(metrics).toContain(line);
  });
});
