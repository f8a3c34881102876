import { describe, expect, it } from 'vitest';
import { makeInvocation } from '../../core/testing/index.ts';
import { splitCommand } from '../../plugins/providers/process/command.ts';
import { imageOf } from '../../plugins/providers/process/images.ts';
import { requestVariables } from '../../plugins/providers/process/variables.ts';
import { watchdogWords } from '../../plugins/providers/process/watchdog.ts';

describe('a command line', () => {
  it.each([
    ['node handler.js', ['node', 'handler.js']],
    ['  a \t b\n', ['a', 'b']],
    [`sh -c 'echo "$1" | wc' x`, ['sh', '-c', 'echo "$1" | wc', 'x']],
    [`a "b c" d"e f"'g h'`, ['a', 'b c', 'de fg h']],
    [String.raw`a\ b "c\"d\$e\f"`, ['a b', String.raw`c"d$e\f`]],
    [`a '' ""`, ['a', '', '']],
    ['echo $HOME *;x', ['echo', '$HOME', '*;x']],
  ])('%j is split as a shell splits words', (line, words) => {
    expect(splitCommand(line)).toEqual(words);
  });
  it('is refused when it is empty or a quote is open', () => {
    expect(() => splitCommand('  ')).toThrow('the command is empty');
    expect(() => splitCommand(`sh -c 'oops`)).toThrow('an open quote at character 7');
    expect(() => splitCommand('a "b')).toThrow('an open quote at character 3');
  });
});

describe('the variables of a request', () => {
  const of = (set: Parameters<typeof makeInvocation>[1]): Record<string, string> =>
    requestVariables(makeInvocation('f.test', set));

  it('are named as the classic watchdog names them', () => {
    const headers = { 'x-call-id': 'abc', accept: ['text/html', 'text/plain'], host: 'gateway:8080' };
    const variables = of({ method: 'PUT', path: '/a/b%20c', query: '?x=1&y=%26', headers, body: Buffer.from('four') });
    expect(variables).toEqual({
      Http_X_Call_Id: 'abc',
      Http_Accept: 'text/html',
      Http_Host: 'gateway:8080',
      Http_Method: 'PUT',
      Http_Path: '/a/b c',
      Http_Query: 'x=1&y=%26',
      Http_ContentLength: '4',
      Http_Content_Length: '4',
    });
  });
  it('cannot be forged by headers: neither the own ones nor each other', () => {
    const headers = {
      method: 'x',
      query: 'x',
      path: 'x',
      contentlength: '9',
      x_user: 'root',
      'x.user': 'root',
      'x-user': 'me',
    };
    const variables = of({ method: 'GET', headers });
    expect(variables).toEqual({
      Http_X_User: 'me',
      Http_Method: 'GET',
      Http_Path: '/',
      Http_ContentLength: '0',
      Http_Content_Length: '0',
    });
  });
  it('all begin with Http_, and hold nothing that a variable cannot', () => {
    const headers = { 'ld-preload': '/evil.so', 'node-options': '--require=/evil', 'x-nul': 'a\0b', 'x-lines': 'a\nb' };
    const variables = of({ headers, path: '/%00/%zz' });
    expect(Object.keys(variables).every((name) => /^Http_[A-Za-z0-9_]+$/.test(name))).toBe(true);
    expect(Object.values(variables).join('')).not.toContain('\0');
    expect(variables).not.toHaveProperty('Http_X_Nul');
    expect(variables['Http_X_Lines']).toBe('a\nb');
    expect(variables['Http_Path']).toBe('/%00/%zz');
  });
});

describe("the watchdogs' words", () => {
  it('have the meaning that they have there', () => {
    const env = {
      fprocess: 'cat',
      function_process: 'wc -l',
      mode: 'serializing',
      upstream_url: 'http://127.0.0.1:3000',
      max_inflight: '4',
      exec_timeout: '10',
      read_timeout: '1m30s',
      write_timeout: '500ms',
      content_type: 'text/csv',
      write_debug: 'true',
      prefix_logs: 'false',
      cgi_headers: '0',
      healthcheck_interval: '5s',
      ready_path: '/_/ready',
    };
    expect(watchdogWords(env)).toEqual({
      command: 'wc -l',
      mode: 'fork',
      upstreamUrl: 'http://127.0.0.1:3000',
      maxInflight: 4,
      execMs: 10_000,
      readMs: 90_000,
      writeMs: 500,
      contentType: 'text/csv',
      combineOutput: false,
      writeDebug: true,
      prefixLogs: false,
      cgiHeaders: false,
      healthMs: 5000,
      readyPath: '/_/ready',
    });
  });
  it('leave out what is not said', () => {
    expect(Object.values(watchdogWords({ PATH: '/bin', mode: '' })).filter((value) => value !== undefined)).toEqual([]);
  });
  it('are refused where they say nothing, and where Millrace would not do what they ask', () => {
    expect(() => watchdogWords({ exec_timeout: 'soon' })).toThrow('env exec_timeout: expected seconds');
    expect(() => watchdogWords({ max_inflight: '-1' })).toThrow('env max_inflight: expected a number');
    expect(() => watchdogWords({ combine_output: 'perhaps' })).toThrow('env combine_output: expected true or false');
    expect(() => watchdogWords({ mode: 'static' })).toThrow('env mode: expected one of fork, serializing');
    expect(() => watchdogWords({ jwt_auth: 'true' })).toThrow('env jwt_auth is not supported');
  });
});

describe('the table of images', () => {
  const images = {
    'ghcr.io/openfaas/alpine:latest': { command: 'exact' },
    'ghcr.io/openfaas/alpine': { command: 'untagged' },
    'ghcr.io/openfaas/*': { command: 'wide' },
    'ghcr.io/*/node*:18': { command: 'two stars' },
    'localhost:5000/own': { command: 'registry with a port' },
  };
  it.each([
    ['ghcr.io/openfaas/alpine:latest', 'exact'],
    ['ghcr.io/openfaas/alpine:3.20', 'untagged'],
    ['ghcr.io/openfaas/alpine@sha256:00ff', 'untagged'],
    ['ghcr.io/openfaas/alpine:1@sha256:00ff', 'untagged'],
    ['ghcr.io/openfaas/figlet:latest', 'wide'],
    ['ghcr.io/me/node-env:18', 'two stars'],
    ['localhost:5000/own', 'registry with a port'],
    ['localhost:5000/own:2', 'registry with a port'],
  ])('finds %s', (name, command) => {
    expect(imageOf(images, name).command).toBe(command);
  });
  it.each(['docker.io/openfaas/alpine', 'ghcr.io/me/node:20', 'ghcr.io/openfaas', 'toString', '__proto__'])(
    'does not know %s, and names itself',
    (name) => {
      expect(() => imageOf(images, name)).toThrow(`no command is known for image "${name}": add it to "images"`);
    },
  );
});
