import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FunctionSecrets, SecretName } from '../../../core/contracts/deployment.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';
import { secretName } from './secrets.ts';

/** Secrets that clients keep: a file each, in the folder of their namespace, for this user only. */
export class KeptSecrets implements FunctionSecrets {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async list(namespace: string): Promise<readonly SecretName[]> {
    const entries = await readdir(join(this.#path, checked(namespace)), { withFileTypes: true }).catch(ifMissing([]));
    return entries
      .filter((entry) => entry.isFile() && secretName.test(entry.name))
      .map(({ name }) => ({ name, namespace }));
  }

  async create(secret: SecretName, value: Uint8Array): Promise<boolean> {
    return this.#write(secret, value, async (written, file) => {
      await link(written, file); // Unlike a rename it does not replace what is there.
      await unlink(written);
    });
  }

  async update(secret: SecretName, value: Uint8Array): Promise<boolean> {
    if (!(await stat(this.#fileOf(secret)).catch(ifMissing(undefined)))) return false;
    return this.#write(secret, value, rename);
  }

  async remove(secret: SecretName): Promise<boolean> {
    return unlink(this.#fileOf(secret)).then(() => true, ifMissing(false));
  }

  /** Written whole and synced before it has its name, so that no function ever reads half of it. */
  async #write(
    secret: SecretName,
    value: Uint8Array,
    place: (written: string, file: string) => Promise<void>,
  ): Promise<boolean> {
    const file = this.#fileOf(secret);
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const written = join(dirname(file), `.${randomUUID()}`);
    try {
      const handle = await open(written, 'wx', 0o400);
      try {
        await handle.writeFile(value);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await place(written, file);
      return true;
    } catch (error) {
      await rm(written, { force: true });
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  #fileOf({ namespace, name }: SecretName): string {
    return join(this.#path, checked(namespace), checked(name));
  }
}

function checked(name: string): string {
  if (secretName.test(name)) return name;
  throw new MillraceError('request.invalid', `${JSON.stringify(name)}: expected letters, digits, ".", "_", "-"`);
}

/** What is not there is `other`; any other failure is one. */
function ifMissing<Other>(other: Other): (error: NodeJS.ErrnoException) => Other {
  return (error) => {
    if (error.code === 'ENOENT') return other;
    throw error;
  };
}
