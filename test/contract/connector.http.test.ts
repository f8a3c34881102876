import { connectorContract } from '../../core/testing/connector-contract.ts';
import { httpConnectorBench, httpTraits } from './http-connector-bench.ts';

connectorContract({ name: 'connector http', traits: httpTraits, create: httpConnectorBench });
