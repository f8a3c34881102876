import 'reflect-metadata';
import { container as root, instanceCachingFactory, type DependencyContainer, type InjectionToken } from 'tsyringe';

// tsyringe is imported here and nowhere else: containers are built in the composition root and, one child for each
// plugin instance, in the host. Everything else takes its needs as arguments. No decorators: Node runs these files as
// they are, and strips types only.

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

export type { DependencyContainer };
