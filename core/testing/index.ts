export {
  brokerTraits,
  type ConnectorBench,
  type ConnectorNeed,
  type ConnectorTraits,
  type Outgoing,
  type Refused,
} from './connector-bench.ts';
export {
  connectorCases,
  connectorContract,
  runConnectorCase,
  type ConnectorContractOptions,
} from './connector-contract.ts';
export { connectorHost, type ConnectorHostParts, type TrialHost } from './connector-host.ts';
export { connectorPlants, type ConnectorPlant } from './connector-plants.ts';
export { type ConnectorCase } from './connector-trial.ts';
export { storeCases, storeContract, type StoreBench, type StoreCase } from './store-contract.ts';
export { journalContract, type JournalBench, type JournalContractOptions } from './journal-contract.ts';
export { MemoryJournal, memoryJournals, type AppendFault } from './memory-journal.ts';
export { manualClock, type ManualClock } from './manual-clock.ts';
export { queueCases, queueContract, runQueueCase, type QueueContractOptions } from './queue-contract.ts';
export { queueModel, type QueueModelOptions } from './queue-model.ts';
export { type QueueBench, type QueueCase, type QueueNeed, type QueueSettings } from './queue-trial.ts';
export {
  providerCases,
  providerContract,
  type ProviderBench,
  type ProviderCase,
  type Role,
} from './provider-contract.ts';
export { makeCall, makeEntry, makeInvocation } from './calls.ts';
export { roleHandler } from './http-roles.ts';
export { pluginHost, type PluginHostParts, providerHost, type TrialProviderHost } from './plugin-host.ts';
