/** US dollars and spans of time, to and from the messages that carry them. */

import { create } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";
import { type Money, MoneySchema } from "./gen/pictor/v1/image_pb.js";

/** An amount in US dollars, such as `"0.25"`; text is exact. */
export type Usd = string | number;

const NANOS = 1_000_000_000n;

/**
 * Turns US dollars into Money, exactly.
 *
 * @throws TypeError if it is not a number, or finer than a billionth of a dollar.
 */
export function money(amount: Usd): Money {
  const parts = /^(-?)(\d+)(?:\.(\d{1,9}))?$/.exec(String(amount).trim());
  if (parts === null) {
    throw new TypeError(`\`${amount}\` is not an amount of US dollars such as 0.25, with at most nine decimals`);
  }
  const [, minus = "", whole = "0", fraction = ""] = parts;
  const sign = minus === "-" ? -1 : 1;
  return create(MoneySchema, {
    currencyCode: "USD",
    units: BigInt(sign) * BigInt(whole),
    nanos: sign * Number(fraction.padEnd(9, "0")),
  });
}

/** Turns Money into US dollars as text, exactly: `0.0683`. */
export function usd(amount: Money | undefined): string {
  const nanos = (amount?.units ?? 0n) * NANOS + BigInt(amount?.nanos ?? 0);
  const size = nanos < 0n ? -nanos : nanos;
  const fraction = (size % NANOS).toString().padStart(9, "0").replace(/0+$/, "");
  return `${nanos < 0n ? "-" : ""}${size / NANOS}${fraction && `.${fraction}`}`;
}

/** Turns a Duration into milliseconds. */
export function milliseconds(span: Duration | undefined): number {
  return Number(span?.seconds ?? 0n) * 1000 + (span?.nanos ?? 0) / 1e6;
}
