import { lstat, mkdir, mkdtemp, readlink, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { MillraceError } from '../../../core/contracts/errors.ts';

/** What a file of a secret may be called: it never leads out of the folder, and is none of a volume's own (`..data`). */
const secretName = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;

/**
 * The secrets of one function: a folder that only this user may open (0700), with a link to the file of each. Links and
 * no copies: a changed secret is seen at once, and a gateway that is killed leaves no secret behind.
 */
export class SecretsFolder {
  /** What SECRETS_PATH says. */
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** @throws MillraceError when one of them is not there. */
  static async create(secretsPath: string | undefined, names: readonly string[]): Promise<SecretsFolder> {
    const files = await Promise.all(names.map((name) => fileOf(secretsPath, name)));
    const folder = new SecretsFolder(await mkdtemp(join(tmpdir(), 'millrace-secrets-')));
    await Promise.all(files.map((file, index) => symlink(file, join(folder.path, names[index] ?? ''))));
    return folder;
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

async function fileOf(secretsPath: string | undefined, name: string): Promise<string> {
  if (!secretName.test(name)) {
    throw new MillraceError(
      'config.invalid',
      `secret ${JSON.stringify(name)}: expected letters, digits, ".", "_", "-"`,
    );
  }
  if (secretsPath === undefined) {
    throw new MillraceError('config.invalid', `secret "${name}": the provider has no secretsPath`);
  }
  const file = join(secretsPath, name);
  const found = await stat(file).catch(() => undefined); // What cannot be read is not there for the function either.
  if (found?.isFile()) return file;
  throw new MillraceError('config.invalid', `secret "${name}": there is no file ${file}`);
}

/**
 * Makes `link` a link to the folder of all secrets: it is one for the whole host, so functions see each other's there.
 *
 * @throws MillraceError when something else is there, or when it cannot be made.
 */
export async function linkSecrets(link: string, secretsPath: string): Promise<void> {
  const found = await lstat(link).catch(() => undefined);
  if (found?.isSymbolicLink() && (await readlink(link)) === secretsPath) return;
  if (found) throw new MillraceError('config.invalid', `secretsLink: ${link} is there already, and leads elsewhere`);
  try {
    await mkdir(dirname(link), { recursive: true });
    await symlink(secretsPath, link);
  } catch (error) {
    throw new MillraceError('config.invalid', `secretsLink: ${link} cannot be made`, { cause: error });
  }
}
