import { describe, expect, it } from 'vitest';
import type { Asking, WatchEvent } from './api-client.ts';
import { deploymentOf, itemsOf, objectOf, type RulesWorld, told, until } from './rules-world.ts';

const metadataOnly = {
  list: { accept: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1' },
  watch: { accept: 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1' },
};

/** What is there is listed page by page, and what changes is told in order. */
export function readRules(world: () => RulesWorld): void {
  const configMaps = (): string => `${world().core}/configmaps`;
  const make = async (name: string, labels: Readonly<Record<string, string>> = {}): Promise<void> => {
    const { status } = await world().api.ask('POST', configMaps(), { metadata: { name, labels }, data: { a: '1' } });
    expect(status).toBe(201);
  };
  const nameOf = ({ object }: WatchEvent): string => object.metadata.name;

  /** Follows a watch in the background. */
  function follow(
    path: string,
    asking?: Asking,
  ): { readonly events: WatchEvent[]; readonly ended: Promise<void>; readonly stop: () => void } {
    const events: WatchEvent[] = [];
    const leaving = new AbortController();
    const ended = (async () => {
      try {
        for await (const event of world().api.watch(path, asking, leaving.signal)) events.push(event);
      } catch (error) {
        if (!leaving.signal.aborted) throw error;
      }
    })();
    return { events, ended, stop: () => leaving.abort() };
  }

  describe('lists', () => {
    it('says what the list is of, and of its own kinds not what each item is', async () => {
      await make('listed');
      const { body } = await world().api.get(configMaps());
      expect(body).toMatchObject({ kind: 'ConfigMapList', apiVersion: 'v1' });
      const item = itemsOf({ body } as never).find(({ metadata }) => metadata.name === 'listed');
      expect(item).toMatchObject({ data: { a: '1' } });
      expect(item).not.toHaveProperty('kind');
    });

    it('gives pages of what there was at the first of them', async () => {
      for (const name of ['page-1', 'page-2', 'page-3']) await make(name, { paged: 'yes' });
      const path = `${configMaps()}?labelSelector=paged=yes&limit=2`;
      const first = await world().api.get(path);
      const { continue: token, resourceVersion } = first.body['metadata'] as {
        continue: string;
        resourceVersion: string;
      };
      await make('page-4', { paged: 'yes' });
      const second = await world().api.get(`${path}&continue=${encodeURIComponent(token)}`);
      expect([...itemsOf(first), ...itemsOf(second)].map(({ metadata }) => metadata.name)).toEqual([
        'page-1',
        'page-2',
        'page-3',
      ]);
      expect(second.body['metadata']).toMatchObject({ resourceVersion });
      expect((second.body['metadata'] as { continue?: string }).continue ?? '').toBe('');
      expect((await world().api.get(`${path}&continue=none`)).status).toBe(400);
    });

    it('gives metadata alone to who asks for that', async () => {
      const none = await world().api.get(`${world().core}/secrets?labelSelector=none=such`, metadataOnly.list);
      expect(none.body).toMatchObject({ kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1', items: null });
      await world().api.ask('POST', `${world().core}/secrets`, {
        metadata: { name: 'quiet', labels: { quiet: 'yes' } },
        stringData: { a: 'hush' },
      });
      const { text, body } = await world().api.get(
        `${world().core}/secrets?labelSelector=quiet=yes`,
        metadataOnly.list,
      );
      expect(body['items']).toMatchObject([
        { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: { name: 'quiet' } },
      ]);
      expect(text).not.toContain(Buffer.from('hush').toString('base64'));
      const one = await world().api.get(`${world().core}/secrets/quiet`, metadataOnly.watch);
      expect(one.body).toMatchObject({ kind: 'PartialObjectMetadata', metadata: { name: 'quiet' } });
      expect(one.body).not.toHaveProperty('data');
    });

    it('selects by labels and by name', async () => {
      await make('select-a', { colour: 'red', size: '1' });
      await make('select-b', { colour: 'blue' });
      const names = async (query: string): Promise<string[]> =>
        itemsOf(await world().api.get(`${configMaps()}?${query}`)).map(({ metadata }) => metadata.name);
      expect(await names('labelSelector=colour')).toEqual(['select-a', 'select-b']);
      expect(await names('labelSelector=colour%3Dred,size%3D1')).toEqual(['select-a']);
      expect(await names('labelSelector=colour,%21size')).toEqual(['select-b']);
      expect(await names('labelSelector=colour%20in%20(blue,green)')).toEqual(['select-b']);
      expect(await names('labelSelector=colour,colour%21%3Dblue')).toEqual(['select-a']);
      expect(await names('fieldSelector=metadata.name%3Dselect-b')).toEqual(['select-b']);
      const secrets = await world().api.get(
        `${world().core}/secrets?fieldSelector=type!%3DOpaque,metadata.name%3Dnone`,
      );
      expect(secrets.status).toBe(200);
      const bad = [
        await world().api.get(`${configMaps()}?labelSelector=a%20b%20c`),
        await world().api.get(`${configMaps()}?fieldSelector=spec.foo%3D1`),
      ];
      expect(bad.map(told)).toEqual([
        {
          status: 400,
          reason: 'BadRequest',
          message: "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        },
        {
          status: 400,
          reason: 'BadRequest',
          message: expect.stringMatching(/^"spec.foo" is not a known field selector/) as unknown,
        },
      ]);
    });

    it('knows versions of its own only', async () => {
      expect(told(await world().api.get(`${configMaps()}?resourceVersion=abc`))).toMatchObject({
        status: 400,
        reason: 'BadRequest',
      });
      const far = await world().api.get(`${configMaps()}?resourceVersion=99999999999`);
      expect(told(far)).toMatchObject({ status: 504, reason: 'Timeout' });
      expect((await world().api.get(`${configMaps()}?resourceVersion=0`)).status).toBe(200);
    });

    it('does not know other paths', async () => {
      const known = await world().api.get(`/apis/apps/v1/namespaces/${world().namespace}/nothings`);
      const group = await world().api.get('/apis/no.such.group/v1/things');
      expect([known.status, group.status, group.text]).toEqual([404, 404, '404 page not found\n']);
    });
  });

  describe('watches', () => {
    it('tell what comes after a version, in order, and of a selector what comes to fit and what fits no more', async () => {
      const { body } = await world().api.get(configMaps());
      const { resourceVersion } = body['metadata'] as { resourceVersion: string };
      const path = `${configMaps()}?watch=true&resourceVersion=${resourceVersion}&labelSelector=seen=yes`;
      const { events, stop, ended } = follow(path);
      await make('seen-1', { seen: 'yes' });
      await make('seen-2');
      await world().api.merge(`${configMaps()}/seen-2`, { metadata: { labels: { seen: 'yes' } } });
      await world().api.merge(`${configMaps()}/seen-1`, { data: { a: '2' } });
      await world().api.merge(`${configMaps()}/seen-2`, { metadata: { labels: { seen: null } } });
      await world().api.ask('DELETE', `${configMaps()}/seen-1`);
      await until(async () => events.length >= 5);
      stop();
      await ended;
      expect(events.map((event) => `${event.type} ${nameOf(event)}`)).toEqual([
        'ADDED seen-1',
        'ADDED seen-2',
        'MODIFIED seen-1',
        'DELETED seen-2',
        'DELETED seen-1',
      ]);
      const versions = events.map(({ object }) => Number(object.metadata.resourceVersion));
      expect(versions).toEqual(versions.toSorted((left, right) => left - right));
    });

    it('begin with what there is, and mark where that ends', async () => {
      await make('begun', { begun: 'yes' });
      const path = `${configMaps()}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&labelSelector=begun=yes`;
      const { events, stop, ended } = follow(path);
      await until(async () => events.length >= 2);
      stop();
      await ended;
      const [first, mark] = events;
      expect(first).toMatchObject({ type: 'ADDED', object: { kind: 'ConfigMap', metadata: { name: 'begun' } } });
      expect(mark).toMatchObject({
        type: 'BOOKMARK',
        object: { kind: 'ConfigMap', metadata: { annotations: { 'k8s.io/initial-events-end': 'true' } } },
      });
      expect(Number(mark?.object.metadata.resourceVersion)).toBeGreaterThanOrEqual(
        Number(first?.object.metadata.resourceVersion),
      );
    });

    it('end when their time is over', async () => {
      const { ended } = follow(`${configMaps()}?watch=true&timeoutSeconds=1&resourceVersion=0`);
      await ended;
    });

    it('tell metadata alone to who asks for that', async () => {
      const path = `${world().core}/secrets?watch=true&fieldSelector=metadata.name=whisper`;
      const { events, stop, ended } = follow(path, metadataOnly.watch);
      await world().api.ask('POST', `${world().core}/secrets`, {
        metadata: { name: 'whisper' },
        stringData: { a: 'hush' },
      });
      await until(async () => events.length >= 1);
      stop();
      await ended;
      expect(events[0]).toMatchObject({
        type: 'ADDED',
        object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1' },
      });
      expect(events[0]?.object).not.toHaveProperty('data');
    });

    it('tell of one that is deleted with the version of its end', async () => {
      await make('ending');
      const { metadata } = objectOf(await world().api.get(`${configMaps()}/ending`));
      const path = `${configMaps()}?watch=true&resourceVersion=${metadata.resourceVersion}&fieldSelector=metadata.name=ending`;
      const { events, stop, ended } = follow(path);
      await world().api.ask('DELETE', `${configMaps()}/ending`);
      await until(async () => events.length >= 1);
      stop();
      await ended;
      expect(events[0]?.type).toBe('DELETED');
      expect(Number(events[0]?.object.metadata.resourceVersion)).toBeGreaterThan(Number(metadata.resourceVersion));
    });
  });

  describe('deletes', () => {
    it('say what is gone, and that it is not there', async () => {
      await make('gone');
      const { metadata } = objectOf(await world().api.get(`${configMaps()}/gone`));
      expect((await world().api.ask('DELETE', `${configMaps()}/gone`)).body).toEqual({
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Success',
        details: { name: 'gone', kind: 'configmaps', uid: metadata.uid },
      });
      expect(told(await world().api.ask('DELETE', `${configMaps()}/gone`))).toMatchObject({
        status: 404,
        message: 'configmaps "gone" not found',
      });
    });

    it('leave another one of the same name alone', async () => {
      await make('precious');
      for (const preconditions of [{ uid: 'other' }, { resourceVersion: '1' }]) {
        const refused = await world().api.ask('DELETE', `${configMaps()}/precious`, { preconditions });
        expect(told(refused)).toMatchObject({ status: 409, reason: 'Conflict' });
      }
    });

    it('take what belongs to it along, at once or first', async () => {
      const replicaSets = `/apis/apps/v1/namespaces/${world().namespace}/replicasets?labelSelector=app=owner`;
      const { api, deployments, hasPods } = world();
      for (const propagationPolicy of ['Background', 'Foreground']) {
        await api.ask('POST', deployments, deploymentOf('owner', { spec: { replicas: 0 } }));
        if (hasPods) await until(async () => itemsOf(await api.get(replicaSets)).length > 0);
        const { status } = await api.ask('DELETE', `${deployments}/owner`, { propagationPolicy });
        expect(status).toBe(200);
        if (!hasPods) return;
        await until(async () => (await api.get(`${deployments}/owner`)).status === 404);
        await until(async () => itemsOf(await api.get(replicaSets)).length === 0);
      }
    });

    it('take away what belongs to nobody that is there', async () => {
      if (!world().hasPods) return;
      const owner = {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        name: 'never',
        uid: '00000000-0000-0000-0000-000000000000',
      };
      await world().api.ask('POST', configMaps(), { metadata: { name: 'orphan', ownerReferences: [owner] } });
      await until(async () => (await world().api.get(`${configMaps()}/orphan`)).status === 404);
    });

    it('wait for finalizers', async () => {
      await world().api.ask('POST', configMaps(), { metadata: { name: 'held', finalizers: ['millrace.test/held'] } });
      const marked = await world().api.ask('DELETE', `${configMaps()}/held`);
      expect(objectOf(marked).metadata.deletionTimestamp).toBeDefined();
      expect((await world().api.get(`${configMaps()}/held`)).status).toBe(200);
      await world().api.merge(`${configMaps()}/held`, { metadata: { finalizers: null } });
      await until(async () => (await world().api.get(`${configMaps()}/held`)).status === 404);
    });
  });
}
