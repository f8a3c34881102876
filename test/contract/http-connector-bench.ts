import { pino } from 'pino';
import { Agent, request } from 'undici';
import { httpConfig } from '../../connectors/http/config.ts';
import { HttpConnector } from '../../connectors/http/connector.ts';
import { OwnRoutes } from '../../core/api/route-table.ts';
import { PublicServer } from '../../core/api/server.ts';
import { brokerTraits, type ConnectorBench, type ConnectorTraits } from '../../core/testing/connector-bench.ts';
import { connectorHost } from '../../core/testing/connector-host.ts';
import { testAuthenticator } from '../support/authenticator.ts';

export const httpTraits: ConnectorTraits = {
  ...brokerTraits,
  settlement: 'replies',
  // A request is an event only if it says so.
  events: false,
  ordered: false,
  waits: false,
  fences: false,
  shares: false,
  handsBack: 'nobody',
  acknowledges: ['done', 'accepted'],
};

/** A listener with one route; each sender waits for its answer. */
export async function httpConnectorBench(): Promise<ConnectorBench> {
  const agent = new Agent();
  const servers: PublicServer[] = [];
  let waiting = 0;
  let url = '';
  return {
    kind: 'http',
    topic: '/trial/:id',
    open: async () => {
      const server = new PublicServer({
        authenticator: testAuthenticator(),
        logger: pino({ level: 'silent' }),
        listenHost: '127.0.0.1',
      });
      servers.push(server);
      const config = httpConfig.parse({ routes: [{ path: '/trial/:id', function: 'work' }] });
      const routes = new OwnRoutes('connector "trial"');
      const connector = new HttpConnector(config, connectorHost('http', { http: routes }));
      await connector.start();
      server.serve([routes]);
      await server.listen('127.0.0.1', 0);
      url = `http://127.0.0.1:${server.address?.port}`;
      return connector;
    },
    send: async (messages) => {
      for (const { body, headers = {} } of messages) {
        waiting++;
        void request(`${url}/trial/7`, { method: 'POST', body: Buffer.from(body), headers, dispatcher: agent })
          .then((answer) => answer.body.dump())
          // The end of the listener is an end of the wait, too.
          .catch(() => undefined)
          .then(() => waiting--);
      }
    },
    left: async () => waiting,
    dispose: async () => {
      await agent.destroy();
      for (const server of servers) {
        server.closeAllConnections();
        await server.close();
      }
    },
  };
}
