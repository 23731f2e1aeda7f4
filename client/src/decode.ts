/** What the node writes: event ids are `milliseconds-sequence`, as Redis Streams have them; data is JSON. */

/** Return the value of a JSON text, or the text if it is not JSON. */
export function parse(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const parts = (id: string) =>
  (/^\d+-\d+$/.test(id) ? id.split("-").map(Number) : [NaN, NaN]) as [number, number];

/** Return a negative number if `a` is before `b`, 0 if they are equal, NaN if either is not an id. */
export function compareIds(a: string, b: string): number {
  const [ms, sequence] = parts(a);
  const [otherMs, otherSequence] = parts(b);
  return ms - otherMs || sequence - otherSequence;
}
