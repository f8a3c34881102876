import { connectorCrashSuite } from './connector-suite.ts';
import { crashConnectors } from './connectors.ts';

await connectorCrashSuite(crashConnectors.amqp);
