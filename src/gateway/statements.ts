/**
 * The prepared statements that one client has, by its own names. The unnamed one is kept too: a client may parse it in
 * one batch and bind it in the next, which runs on another backend.
 */
import { HomeportError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Statement } from '../pgwire/sql.ts';
import type { PreparedText, PreparedTexts } from '../shards/prepared.ts';

export interface ClientStatement {
  readonly name: string;
  /** Changes when a Close is taken back, after the text was forgotten. */
  text: PreparedText;
  readonly statement: Statement;
}

export class ClientStatements {
  private readonly texts: PreparedTexts;
  private readonly byName = new Map<string, ClientStatement>();
  private readonly maxBytes: number;
  private bytes = 0;

  /** @param maxBytes another gateway holds on one connection what many clients use, and closes after it has prepared. */
  constructor(texts: PreparedTexts, maxBytes: number = limits.clientStatementBytes) {
    this.texts = texts;
    this.maxBytes = maxBytes;
  }

  get(name: string): ClientStatement | undefined {
    return this.byName.get(name);
  }

  /**
   * @param tail text, NUL and parameter types of the Parse.
   * @throws HP-G407 when the name is taken (the unnamed statement is replaced), HP-G405 beyond the client's limits.
   */
  add(name: string, tail: Buffer, statement: Statement): ClientStatement {
    if (name === '') this.remove('');
    else if (this.byName.has(name)) throw new HomeportError('HP-G407', { name });
    if (this.byName.size >= limits.clientStatements || this.bytes + tail.length > this.maxBytes) {
      throw new HomeportError('HP-G405', { limit: limits.clientStatements, bytes: this.maxBytes });
    }
    const entry: ClientStatement = { name, text: this.texts.hold(tail), statement };
    this.byName.set(name, entry);
    this.bytes += tail.length;
    return entry;
  }

  remove(name: string): void {
    const entry = this.byName.get(name);
    if (!entry) return;
    this.byName.delete(name);
    this.bytes -= entry.text.tail.length;
    this.texts.release(entry.text);
  }

  /** Close, until its answer is certain: `restore` takes it back. */
  close(name: string): ClientStatement | undefined {
    const entry = this.byName.get(name);
    this.remove(name);
    return entry;
  }

  /** A Close that the server skipped, or that is to be read again, never happened. */
  restore(entry: ClientStatement): void {
    if (this.byName.has(entry.name)) return;
    entry.text = this.texts.hold(entry.text.tail);
    this.byName.set(entry.name, entry);
    this.bytes += entry.text.tail.length;
  }

  /** A Parse that the server refused or skipped never happened. */
  undo(entry: ClientStatement): void {
    if (this.byName.get(entry.name) === entry) this.remove(entry.name);
  }

  clear(): void {
    for (const name of [...this.byName.keys()]) this.remove(name);
  }
}
