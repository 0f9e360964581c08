// Numbers with units, for people. Whatever is not known is a dash.

export const NONE = "–";
const known = (value) => typeof value === "number" && Number.isFinite(value);

/** About `digits` significant digits, without exponents where a person would not write one. */
export function number(value, digits = 3) {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e7) return power(value, digits);
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return value.toFixed(Math.min(decimals, 6)).replace("-", "−");
}

/** A round number, as axes have it. */
export const plain = (value) => String(Number(value.toPrecision(12))).replace("-", "−");

const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

/** An exponent in raised digits. */
export const raised = (exponent) => [...String(exponent)].map((sign) => RAISED[sign]).join("");

function power(value, digits) {
  const [factor, exponent] = value.toExponential(digits - 1).split("e");
  return `${factor.replace("-", "−")}·10${raised(Number(exponent))}`;
}

function scaled(value, unit, prefixes, base = 1000) {
  if (!known(value)) return NONE;
  let size = value;
  let index = 0;
  while (Math.abs(size) >= 999.5 && index < prefixes.length - 1) {
    size /= base;
    index += 1;
  }
  const text = size !== 0 && Math.abs(size) < 0.095 ? number(size, 2) : size.toFixed(Math.abs(size) >= 99.5 || (index === 0 && Number.isInteger(size)) ? 0 : Math.abs(size) >= 9.95 ? 1 : 2);
  return `${text} ${prefixes[index]}${unit}`;
}

export const bytes = (value) => scaled(value, "B", ["", "k", "M", "G", "T"]);
export const byteRate = (value) => scaled(value, "B/s", ["", "k", "M", "G", "T"]);
export const bitRate = (value) => scaled(value, "bit/s", ["", "k", "M", "G", "T"]);

/** Megabytes with the digits that move. */
export const megabytes = (value) => (known(value) ? `${count((value / 1e6).toFixed(value < 1e8 ? 2 : 1))} MB` : NONE);

/** A count with thin spaces between thousands. */
export function count(value) {
  if (value === null || value === undefined) return NONE;
  const [whole, rest] = String(value).split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+(?!\d))/g, " ");
  return rest === undefined ? spaced : `${spaced}.${rest}`;
}

export function percent(share, digits = 0) {
  return known(share) ? `${(100 * share).toFixed(digits)} %` : NONE;
}

/** Seconds in the unit that fits. */
export function seconds(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0 s";
  const size = Math.abs(value);
  if (size < 1e-3) return `${number(value * 1e6)} µs`;
  if (size < 1) return `${number(value * 1e3)} ms`;
  if (size < 120) return `${number(value)} s`;
  if (size < 7200) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  return `${number(value / 3600)} h`;
}

export const position = ([x, y]) => `(${metres(x)}, ${metres(y)}) m`;
const metres = (value) => String(Math.round(value * 10) / 10).replace("-", "−");

/** "1 station", "2 stations". */
export const plural = (many, noun) => `${count(many)} ${noun}${many === 1 ? "" : "s"}`;
