/** Short names of the contract's enums: `pro` for `TIER_PRO`, `4k` for `RESOLUTION_4K`. */

import type { DescEnum } from "@bufbuild/protobuf";

type Short<Key, Prefix extends string> = Key extends `${Prefix}${infer Rest}` ? Rest : Key;

/** The short names of a generated enum as a type, in step with the contract. */
export type Word<Enum, Prefix extends string = ""> = Exclude<
  Lowercase<Short<keyof Enum & string, Prefix>>,
  "unspecified"
>;

/**
 * The number of a short name.
 *
 * @throws TypeError if there is no such value; the text lists those that exist.
 */
export function number(desc: DescEnum, word: string): number {
  const known = desc.values.find((value) => value.number !== 0 && short(desc, value.name) === word);
  if (known === undefined) {
    const all = desc.values.filter((value) => value.number !== 0).map((value) => short(desc, value.name));
    throw new TypeError(`\`${word}\` is none of ${all.join(", ")}`);
  }
  return known.number;
}

/** The short name of a value; empty for the unspecified one, the number itself for one that is newer than we are. */
export function word(desc: DescEnum, value: number): string {
  const known = desc.value[value];
  if (known === undefined) {
    return String(value);
  }
  return value === 0 ? "" : short(desc, known.name);
}

function short(desc: DescEnum, name: string): string {
  const prefix = (desc.value[0]?.name ?? "").replace(/UNSPECIFIED$/, "");
  return name.slice(prefix.length).toLowerCase();
}
