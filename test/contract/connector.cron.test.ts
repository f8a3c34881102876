import { connectorContract } from '../../core/testing/connector-contract.ts';
import { cronConnectorBench, cronTraits } from './cron-connector-bench.ts';

connectorContract({ name: 'connector cron', traits: cronTraits, create: cronConnectorBench });
