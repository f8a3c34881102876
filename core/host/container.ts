import { createRequire } from 'node:module';
import type * as tsyringe from 'tsyringe';

const load = createRequire(import.meta.url);

// tsyringe is loaded here and nowhere else: containers are built in the composition root and, one child for each
// plugin instance, in the host. Everything else takes its needs as arguments. No decorators: Node runs these files as
// they are, and strips types only. So its index is not loaded either: that asks for a polyfill of metadata, and is 20 modules
// more.
const { instance: root } = load('tsyringe/dist/cjs/dependency-container.js') as {
  readonly instance: typeof tsyringe.container;
};
const { default: instanceCachingFactory } = load('tsyringe/dist/cjs/factories/instance-caching-factory.js') as {
  readonly default: typeof tsyringe.instanceCachingFactory;
};

export type DependencyContainer = tsyringe.DependencyContainer;
type InjectionToken<T> = tsyringe.InjectionToken<T>;

/** A name for something that a container holds, which remembers its type. */
export function token<T>(name: string): InjectionToken<T> {
  return Symbol(name);
}

/** A fresh container, apart from tsyringe's global one. */
export function createContainer(): DependencyContainer {
  return root.createChildContainer();
}

/** Registers a value that is made when it is first asked for, once. */
export function provide<T>(
  container: DependencyContainer,
  name: InjectionToken<T>,
  make: (container: DependencyContainer) => T,
): void {
  container.register(name, { useFactory: instanceCachingFactory(make) });
}

export function provideValue<T>(container: DependencyContainer, name: InjectionToken<T>, value: T): void {
  container.register(name, { useValue: value });
}
