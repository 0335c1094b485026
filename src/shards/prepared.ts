/**
 * Prepared statements between many clients and few backends. A statement is its text and parameter types; a client
 * knows it by its own name, a backend by ours, so that a thousand clients which prepare the same text share one plan
 * on each backend. Texts are interned and counted, and forgotten with their last holder.
 */
import { LRUCache } from 'lru-cache';
import { limits } from '../base/limits.ts';

export interface PreparedText {
  /** The Parse message after the statement's name: text, NUL, parameter types. */
  readonly tail: Buffer;
  readonly key: string;
  holders: number;
}

/** All texts that some client or backend of this process holds. */
export class PreparedTexts {
  private readonly byKey = new Map<string, PreparedText>();

  get size(): number {
    return this.byKey.size;
  }

  /** Of all texts together. */
  get bytes(): number {
    let sum = 0;
    for (const { tail } of this.byKey.values()) sum += tail.length;
    return sum;
  }

  /** Takes a hold on the text; `tail` is copied when it is new. */
  hold(tail: Buffer): PreparedText {
    const key = tail.toString('latin1');
    const known = this.byKey.get(key);
    if (known) {
      known.holders++;
      return known;
    }
    const text = { tail: Buffer.from(tail), key, holders: 1 };
    this.byKey.set(key, text);
    return text;
  }

  retain(text: PreparedText): PreparedText {
    text.holders++;
    return text;
  }

  release(text: PreparedText): void {
    if (--text.holders === 0) this.byKey.delete(text.key);
  }
}

/** What one backend has prepared, least recently used out first. */
export class BackendStatements {
  private readonly names: LRUCache<PreparedText, string>;
  private readonly texts: PreparedTexts;
  private next = 0;
  /** Names pushed out of the cache that the server still has; the owner sends a Close for each. */
  readonly evicted: string[] = [];

  constructor(texts: PreparedTexts, max: number = limits.backendStatements) {
    this.texts = texts;
    this.names = new LRUCache<PreparedText, string>({
      max,
      maxSize: limits.backendStatementBytes,
      sizeCalculation: (_, text) => text.tail.length,
      dispose: (name, text, reason) => {
        this.texts.release(text);
        if (reason === 'evict') this.evicted.push(name);
      },
    });
  }

  /** How many the server holds by our names, those included whose Close has still to be sent. */
  get size(): number {
    return this.names.size + this.evicted.length;
  }

  nameOf(text: PreparedText): string | undefined {
    return this.names.get(text);
  }

  /** Names a text that a Parse is being sent for. */
  add(text: PreparedText): string {
    const name = `hp_${++this.next}`;
    this.names.set(this.texts.retain(text), name);
    return name;
  }

  /** The Parse failed or never ran. */
  forget(text: PreparedText): void {
    this.names.delete(text);
  }

  clear(): void {
    this.names.clear();
  }
}
