import { connectors } from '../../connectors/index.ts';
import type { ConnectorDefinition } from '../../core/contracts/definition.ts';
import { earlyConnector } from '../../core/testing/connector-plants.ts';

/** Each connector of messages once more, as kind `KIND-early`, with the bug that it acknowledges before anything was done. */
const definitions = await Promise.all(Object.values(connectors).map(async (load) => (await load()).default));
export default definitions
  .filter((each): each is ConnectorDefinition => each.type === 'connector' && each.messages !== undefined)
  .map((definition) => ({
    ...definition,
    kind: `${definition.kind}-early`,
    create: (...made: Parameters<ConnectorDefinition['create']>) => earlyConnector(definition.create(...made)),
  }));
