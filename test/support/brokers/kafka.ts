import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { exclusively } from './exclusively.ts';
import type { Recipe } from './plan.ts';
import { finished } from './finished.ts';

const cache = join(import.meta.dirname, '../../../node_modules/.cache/millrace');
/** Named after the version in the pom, so that another version resolves anew. */
const classPathFile = join(cache, 'kafka-4.4.0.classpath');

/** Apache Kafka as one node, broker and controller in one process. Its jars come from Maven Central. */
export const kafka: Recipe = {
  variable: 'MILLRACE_TEST_KAFKA_BROKERS',
  programs: ['java', 'mvn'],
  packages: ['default-jre-headless', 'maven'],
  ports: 2,
  plan: async ({ folder, ports: [port, controller], settings, programs }) => {
    const java = programs['java'] ?? '';
    const common = [
      '-cp',
      await classPath(programs['mvn'] ?? ''),
      `-Dlog4j2.configurationFile=file:${join(folder, 'log4j2.properties')}`,
      '-Djava.awt.headless=true',
      // What lives for a minute is not worth optimizing.
      '-XX:TieredStopAtLevel=1',
    ];
    const properties = join(folder, 'server.properties');
    const clusterId = 'bWlsbHJhY2UtdGVzdHMxMg';
    return {
      url: `127.0.0.1:${port}`,
      files: {
        'server.properties': [
          'process.roles=broker,controller',
          'node.id=1',
          `controller.quorum.voters=1@127.0.0.1:${controller}`,
          `listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
          `advertised.listeners=PLAINTEXT://127.0.0.1:${port}`,
          'listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
          'inter.broker.listener.name=PLAINTEXT',
          'controller.listener.names=CONTROLLER',
          `log.dirs=${join(folder, 'data')}`,
          'num.partitions=1',
          // One node has one replica of everything, and few partitions start and load faster.
          'offsets.topic.replication.factor=1',
          'offsets.topic.num.partitions=4',
          'transaction.state.log.replication.factor=1',
          'transaction.state.log.min.isr=1',
          'transaction.state.log.num.partitions=4',
          'share.coordinator.state.topic.replication.factor=1',
          'share.coordinator.state.topic.min.isr=1',
          'share.coordinator.state.topic.num.partitions=1',
          // Or each new group would wait for three seconds.
          'group.initial.rebalance.delay.ms=0',
          'num.network.threads=2',
          'num.io.threads=4',
          ...settings,
          '',
        ].join('\n'),
        'log4j2.properties': [
          'rootLogger.level=info',
          'rootLogger.appenderRef.out.ref=out',
          'appender.out.type=Console',
          'appender.out.name=out',
          'appender.out.layout.type=PatternLayout',
          'appender.out.layout.pattern=%d %p %c{1} %m%n',
          '',
        ].join('\n'),
      },
      first: {
        program: java,
        args: [
          ...common,
          '-Xmx128m',
          'kafka.tools.StorageTool',
          'format',
          '--cluster-id',
          clusterId,
          '--config',
          properties,
        ],
      },
      main: { program: java, args: [...common, '-Xms512m', '-Xmx512m', 'kafka.Kafka', properties] },
      ready: /Kafka Server started/,
    };
  },
};

/** The jars, found once and then known; again if one has gone. */
async function classPath(maven: string): Promise<string> {
  return known() ?? exclusively('kafka-jars', async () => known() ?? resolve());

  function known(): string | undefined {
    if (!existsSync(classPathFile)) return undefined;
    const jars = readFileSync(classPathFile, 'utf8').trim();
    return jars.split(delimiter).every((jar) => existsSync(jar)) ? jars : undefined;
  }

  async function resolve(): Promise<string> {
    mkdirSync(cache, { recursive: true });
    const pom = join(import.meta.dirname, 'kafka-pom.xml');
    const fresh = `${classPathFile}.${process.pid}`;
    await finished(maven, ['-q', '-B', '-f', pom, 'dependency:build-classpath', `-Dmdep.outputFile=${fresh}`]);
    renameSync(fresh, classPathFile);
    return readFileSync(classPathFile, 'utf8').trim();
  }
}
