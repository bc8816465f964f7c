// Which of standalone's keys fill which of the broker's settings.

import type { BrokerSettings } from '../broker/broker.ts';
import type { StandaloneConfig } from './config.ts';

export function brokerSettings(config: StandaloneConfig, listen: string): BrokerSettings {
  return {
    listen,
    tailCacheBytes: config.tailCache,
    readAheadBytes: config.readAheadCache,
    intakeBytes: config.publishBuffer,
    outboxBytes: config.deliveryBuffer,
    rpc: { connectionsMax: config.connectionsMax, windowBudgetBytes: config.receiveWindows },
    edge: {},
    partitions: { openMax: config.partitionsOpenMax, idleCloseMs: config.partitionIdleClose },
    partition: { rollAgeMs: config.ledgerAge },
    log: { ledgerBytesMax: config.ledgerBytes },
    catalog: {},
    policies: {
      retentionMs: config.retention,
      backlogBytesMax: config.backlogQuota,
      autoCreateTopics: config.autoCreateTopics,
      defaultPartitions: config.defaultPartitions,
      dedupWindowMs: config.dedupWindow,
    },
    storageLimitBytes: config.storageLimit,
  };
}
