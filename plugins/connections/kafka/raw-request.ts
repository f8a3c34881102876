import type Broker from 'kafkajs/src/broker/index.js';
import apiKeys from 'kafkajs/src/protocol/requests/apiKeys.js';
import definitions from 'kafkajs/src/protocol/requests/index.js';

/**
 * What a broker answers, as it is. kafkajs's own methods throw for the whole of it what is wrong with a part (one partition
 * without a leader hides all others), and read no further into it than they need.
 */
export function askRaw<Answer>(
  broker: Broker,
  name: 'Fetch' | 'Metadata' | 'OffsetCommit',
  options: object,
  decode?: (payload: Buffer, version: number) => Promise<Answer>,
): Promise<Answer> {
  const { request, response } = broker.lookupRequest(apiKeys[name] ?? -1, definitions.requests[name])(options);
  const own = (payload: Buffer): Promise<Answer> => response.decode(payload) as Promise<Answer>;
  return broker.connectionPool.send({
    request,
    response: {
      decode: decode ? (payload) => decode(payload, request.apiVersion) : own,
      parse: async (answer) => answer,
    },
  });
}
