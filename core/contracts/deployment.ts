/**
 * A function as OpenFaaS clients ask for it (`POST /system/functions`), checked and with what was left out filled in.
 * Field names are those of OpenFaaS.
 */
export interface Deployment {
  /** Its name without the namespace. */
  readonly service: string;
  readonly namespace: string;
  readonly image: string;
  readonly envProcess?: string | undefined;
  readonly envVars: Readonly<Record<string, string>>;
  readonly constraints: readonly string[];
  /** Names of secrets that it gets. */
  readonly secrets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Kubernetes quantities by resource: `{memory: '128Mi', cpu: '100m'}`. */
  readonly limits?: Readonly<Record<string, string>> | undefined;
  readonly requests?: Readonly<Record<string, string>> | undefined;
  readonly readOnlyRootFilesystem?: boolean | undefined;
}

/** A secret of functions: its name and where it belongs; its value is never told. */
export interface SecretName {
  readonly name: string;
  readonly namespace: string;
}

/** Where a provider keeps the secrets of its functions. Values are bytes, and are only ever given to functions. */
export interface FunctionSecrets {
  list(namespace: string): Promise<readonly SecretName[]>;
  /** False when there is one of that name already. */
  create(secret: SecretName, value: Uint8Array): Promise<boolean>;
  /** False when there is none. */
  update(secret: SecretName, value: Uint8Array): Promise<boolean>;
  /** False when there is none. */
  remove(secret: SecretName): Promise<boolean>;
}

/** A function that its provider keeps by itself, as a cluster does, whoever made it there. */
export interface FoundFunction {
  readonly deployment: Deployment;
  /** Wall clock, ms. */
  readonly createdAt: number;
}

export interface Namespace {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/**
 * Where functions are kept outside of the gateway. What is there is what runs: every gateway finds it there, and keeps
 * nothing of it. All that changes something rejects with a MillraceError.
 */
export interface DeploymentKeeper {
  /** By full name, as last known. One that has not changed is the same object as before. */
  functions(): ReadonlyMap<string, FoundFunction>;
  /** Calls `listener` after any have come, changed or gone; returns what ends that. */
  onChange(listener: () => void): () => void;
  /** Resolves once it is kept, and `functions` has it. `request.conflict`, `function.missing` when `how` does not fit. */
  deploy(deployment: Deployment, how: 'create' | 'update'): Promise<void>;
  /** `function.missing` when there is none. */
  remove(name: string): Promise<void>;
  /** Those that functions may be in. */
  namespaces(): readonly Namespace[];
  putNamespace(namespace: Namespace, how: 'create' | 'update'): Promise<void>;
  removeNamespace(name: string): Promise<void>;
}
