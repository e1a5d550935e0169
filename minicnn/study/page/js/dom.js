// Elements, and mathematics in MathML. Text always goes in as text: no string becomes markup anywhere in this module.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const MATHML = "http://www.w3.org/1998/Math/MathML";

function mml(tag, ...children) {
  const element = document.createElementNS(MATHML, tag);
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined));
  return element;
}

const mi = (name) => mml("mi", name);
const mo = (sign) => mml("mo", sign);
const mtext = (text) => mml("mtext", text.replaceAll(" ", "\u00a0")); // MathML drops plain spaces
const mrow = (...children) => mml("mrow", ...children);
const msub = (base, ...index) => mml("msub", typeof base === "string" ? mi(base) : base, mrow(...commas(index)));
const mfrac = (above, below) => mml("mfrac", mrow(above), mrow(below));
const msqrt = (...children) => mml("msqrt", ...children);
const msquared = (child) => mml("msup", child, mml("mn", "2"));

// A function's name and the thin space that is due after it.
function mfunction(name) {
  const space = mml("mspace");
  space.setAttribute("width", "0.17em");
  return mrow(mi(name), space);
}

const mhat = (name) => mml("mover", mi(name), mo("^"));

function msum(below, above, ...body) {
  const sign = mo("∑");
  const limits = above === null ? mml("munder", sign, below) : mml("munderover", sign, below, above);
  return mrow(limits, ...body);
}

// A number of few digits; a negative one that is not the first of its line stands in brackets.
function mnum(value, brackets = false) {
  const number = mml("mn", fmt(value));
  return brackets && (value < 0 || Object.is(value, -0)) ? mrow(mo("("), number, mo(")")) : number;
}

function commas(parts) {
  const row = [];
  for (const part of parts.flat(9)) {
    if (row.length) row.push(mo(","));
    row.push(typeof part === "number" ? mml("mn", String(part)) : typeof part === "string" ? mi(part) : part);
  }
  return row;
}

function math(...children) {
  const element = mml("math", mrow(...children));
  element.setAttribute("display", "block");
  return element;
}

// dL/dx, with or without an index
const mgrad = (name, ...index) =>
  mfrac([mo("∂"), mi("L")], [mo("∂"), index.length ? msub(name, ...index) : mi(name)]);

// ---- numbers as text -------------------------------------------------------------------------------------------------

function fmt(value, digits = 4) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text = size >= 1e6 || size < 1e-4 ? value.toExponential(digits - 2) : value.toPrecision(digits);
  if (text.includes("e")) {
    const [front, power] = text.split("e");
    text = `${Number(front)}e${Number(power)}`;
  } else if (text.includes(".")) text = text.replace(/\.?0+$/, "");
  return text.replaceAll("-", "−");
}

const exact = (value) => fmt(value, 9); // what float32 holds
const short = (value) => fmt(value, Math.abs(value) >= 100 ? 3 : 2);

// The power of ten that all numbers of a table share, where they would be long without it: its numbers are to be
// multiplied by it.
function sharedPower(scale) {
  const power = scale > 0 && scale < Infinity ? Math.floor(Math.log10(scale)) : 0;
  return power < -2 || power > 3 ? power : 0;
}

const raised = (power) => String(power).replace(/./g, (letter) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(letter)] ?? "⁻");

// Few digits, as many behind the point for all numbers of one table.
function inTable(value, scale) {
  if (!Number.isFinite(value)) return fmt(value);
  const shared = 10 ** sharedPower(scale);
  const power = scale > 0 && scale < Infinity ? Math.floor(Math.log10(scale / shared)) : 0;
  const text = (value / shared).toFixed(Math.max(0, Math.min(4, (power < -1 ? 1 : 2) - power)));
  return (Number(text) === 0 ? "0" : text).replace("-", "−");
}
const times = (shape) => shape.join("×");
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
