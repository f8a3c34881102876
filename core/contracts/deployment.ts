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
