// What the gateway says is English. Where the desk speaks another language, sentences it knows are said in that one; others stay.

export interface Said {
  /** Whole sentences; the first that fits counts. `$1` is what stands in the first brackets. */
  sentences: readonly (readonly [RegExp, string])[];
  /** Parts of a sentence that may come several times; all are looked for in what a sentence has become. */
  parts: readonly (readonly [RegExp, string])[];
  /** Kinds of problems, by the last part of their `type`: for details that no sentence fits. */
  problems: Readonly<Record<string, string>>;
}

/** The sentence in the other language; null if it is not known. */
export function inOtherWords(said: Said, sentence: string): string | null {
  const known = said.sentences.find(([pattern]) => pattern.test(sentence));
  if (!known) return null;
  return said.parts.reduce((words, [pattern, part]) => words.replace(pattern, part), sentence.replace(...known));
}
