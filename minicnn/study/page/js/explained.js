// Operations without a view of their own: what Python's explanations say of a number, with its terms shown on the maps.

const TAGS = new Set(["mrow", "mi", "mn", "mo", "mtext", "msub", "msup", "mfrac", "msqrt", "munder"]);
const SIDE_MAPS = 3;
const MOST_MARKS = 64;

// Nested lists of tags as MathML; the end of each list is text.
function fromTree([tag, ...children]) {
  return mml(TAGS.has(tag) ? tag : "mrow", children.map((child) => (Array.isArray(child) ? fromTree(child) : child)));
}

const isFiled = (filed, at) => filed.some((index) => index.join() === at.join());

async function explainedView(c, name, at) {
  const engine = await (name === "y" ? c.value("y", at) : c.back(name, at));
  if (!c.step.terms.includes(name)) return untold(c, name, at, engine, ["Nobody explains this operation: here is its number alone."]);
  const filed = c.step.filed?.[name];
  if (filed && !isFiled(filed, at)) {
    return {
      ...untold(c, name, at, engine, ["This file has the terms of a part of the numbers: these, which have dashed frames in the picture. All of them: minicnn explore, without --html."]),
      more: make("div", { class: "places", role: "group", "aria-label": "numbers with terms" }, filed.map((index) => make("button", { type: "button", onclick: () => c.choose(index), "data-focus": `filed ${index}` }, index.join(", ")))),
    };
  }
  const told = await c.explanation(name, at);
  const values = told.terms.map((term) => Number(term.value));
  const total = summed(told, values);
  const here = `${c.number} ${name} ${at}`;
  const shown = c.state.term?.[0] === here ? c.state.term[1] : values.reduce((most, value, i) => (Math.abs(value) > Math.abs(values[most]) ? i : most), values.length ? 0 : -1);
  const named = name === "y" ? msub("y", ...at) : mgrad(name, ...at);
  return {
    maps: pointed(c, told, shown, name, at),
    math: [fromTree(told.formula), mrow(named, mo("="), ...worked(told, values), mnum(total))],
    bars: values.length > 1 ? { title: `The ${plural(told.many, "term")}`, items: values.map((value, i) => ({ label: termName(told.terms[i]), value, chosen: i === shown, act: () => c.set({ term: [here, i] }) })), more: unsent(told) } : null,
    more: make("div", {}, shown >= 0 ? factorsView(told, shown) : null, partsView(c, told, name, shown)),
    notes: [told.words, ...told.notes, told.padding ? `${plural(told.padding, "term")} of ${told.many} in the padding: zero.` : null, name === "y" ? null : c.shared(name)],
    sum: { total, engine, allowed: Number(told.bound), what: told.how === "sum" ? "sum of the terms " : "largest of the terms " },
    general: told.general,
  };
}

function untold(c, name, at, engine, notes) {
  const inputs = name === "y" ? Object.keys(c.step.inputs).slice(0, SIDE_MAPS) : [];
  return {
    maps: inputs.map((input) => ({ key: c.key(input), name: `input ${input}`, lead: sliceAt(c.shape(input), ones(c.shape(input))) })),
    math: [mrow(name === "y" ? msub("y", ...at) : mgrad(name, ...at), mo("="), mnum(engine))],
    notes,
  };
}

// ---- terms -----------------------------------------------------------------------------------------------------------

// A factor is [name, index, value], and, where it is no entry of an array of that name, the array and index it is.
const factorName = ([name, index]) => (index.length ? `${name}[${index.join(",")}]` : name);
const termName = ({ text, note, factors = [] }) => `${text ?? factors.map(factorName).join(" · ")}${note ? `  (${note})` : ""}`;
const unsent = (told) => ({ many: told.many - told.terms.length - told.padding, sum: Number(told.rest) });

function summed(told, values) {
  if (told.how === "sum") return values.reduce((u, v) => u + v, Number(told.rest));
  return values.reduce((most, value) => (value <= most ? most : value), -Infinity);
}

// The terms in numbers, and "=": a few with their factors, many as their values.
function worked(told, values) {
  if (told.how !== "sum") return [mi("max"), mo("("), ...commas(values.slice(0, 6).map((value) => mnum(value))), ...(told.many > 6 ? [mo(","), mo("…")] : []), mo(")"), mo("=")];
  if (told.many === 1 && (told.terms[0]?.text || told.terms[0]?.factors?.length === 1)) return [];
  if (!values.length) return [];
  if (told.many > 3 || told.terms.some((term) => term.text || !term.factors)) return [...mterms(values, { many: told.many - told.padding }), mo("=")];
  const products = told.terms.flatMap((term, i) => [
    ...(i ? [mo("+")] : []),
    ...term.factors.flatMap(([, , value], j) => [...(j ? [mo("·")] : []), mnum(Number(value), i + j > 0)]),
  ]);
  return [...products, mo("=")];
}

// What the chosen term is made of, and where that comes from.
function factorsView(told, shown) {
  const term = told.terms[shown];
  const rows = (term.factors ?? []).map((factor) => ({ name: factorName(factor), formula: told.sources[factor[0]] ?? "", value: Number(factor[2]) }));
  return make("div", { class: "parts" }, make("h3", {}, `The ${told.many > 1 ? "chosen " : ""}term ${termName(term)}`), termsView(rows));
}

// ---- where they stand ------------------------------------------------------------------------------------------------

const placeOfFactor = ([name, index, , array, place]) => (array ? [array, place] : [name, index]);

// Maps of what the chosen term is made of, then the other terms, then the sums inside of them.
function pointed(c, told, shown, name, at) {
  const maps = new Map();
  const look = ({ terms, parts }, i) => {
    for (const term of terms.length ? [terms[i], ...terms] : []) for (const factor of term.factors ?? []) note(terms, placeOfFactor(factor));
    for (const part of parts) if (maps.size < SIDE_MAPS) look(part, 0);
  };
  const note = (terms, [name, index]) => {
    const key = name === "dy" ? c.gradKey : name === "y" || name in c.step.inputs ? c.key(name) : null;
    if (key === null || maps.has(key) || maps.size >= SIDE_MAPS) return;
    const shape = c.source.shape(key);
    if (shape.length !== index.length || !shape.length) return;
    const lead = sliceAt(shape, index);
    const others = terms.flatMap((term) => term.factors ?? []).map(placeOfFactor).filter(([other, place]) => other === name && lead.every((value, axis) => value === null || place[axis] === value));
    const dashed = others.length <= MOST_MARKS ? others.map(([, place]) => [...placeIn(shape, place), "dashed"]) : [];
    const title = name === "dy" ? "∂L/∂y" : name === "y" ? "output y" : `input ${name}`;
    maps.set(key, { key, name: title, lead, marks: [...dashed, placeIn(shape, index)] });
  };
  look(told, shown);
  return maps.size ? [...maps.values()] : sameShaped(c, name, at);
}

// Where no term is an entry of an array: the inputs of the same shape, at the same place.
function sameShaped(c, name, at) {
  const shape = c.shape(name).join();
  const inputs = Object.keys(c.step.inputs).filter((input) => at.length && c.shape(input).join() === shape);
  return inputs.slice(0, SIDE_MAPS).map((input) => sameMap(c, c.key(input), `input ${input}`, at));
}

// ---- numbers inside of a number --------------------------------------------------------------------------------------

// Open is what the chosen term is made of.
function partsView(c, told, name, shown) {
  const chosen = (told.terms[shown]?.factors ?? []).map(factorName);
  return told.parts.length ? make("div", { class: "parts" }, make("h3", {}, "Numbers inside of it"), told.parts.map((part) => partView(c, part, `${c.number} ${name}`, told.many === 1 || chosen.includes(part.place)))) : null;
}

function partView(c, part, path, open = false) {
  const name = `${path} ${part.place}`;
  const values = part.terms.map((term) => Number(term.value));
  const turned = (c.widget.turned ??= new Set()); // opened or closed by hand
  return make(
    "details",
    { open: turned.has(name) !== open, ontoggle: (event) => (event.target.open === open ? turned.delete(name) : turned.add(name)) },
    make("summary", { "data-focus": `part ${name}` }, `${part.place} = ${fmt(Number(part.total))}`, part.engine === null ? null : make("span", { class: "soft" }, `  the engine's: ${exact(Number(part.engine))}`)),
    math(fromTree(part.formula)),
    math(mo("="), ...worked(part, values), mnum(summed(part, values))),
    values.length > 1 ? barsView({ title: plural(part.many, "term"), items: values.map((value, i) => ({ label: termName(part.terms[i]), value })), more: unsent(part) }) : null,
    part.parts.map((inner) => partView(c, inner, name)),
  );
}

const EXPLAINED = {
  modes: (c) => [
    { id: "y", side: "forward", label: c.step.output === c.source.description.tensors.length - 1 && !c.shape("y").length ? "loss" : "output", target: "y" },
    ...Object.keys(c.step.inputs).filter((name) => c.hasBack(name)).map((name) => ({ id: name, side: "backward", label: `∂L/∂${name}`, target: name })),
  ],
  views: new Proxy({}, { get: (_, mode) => (c, at) => explainedView(c, mode, at) }),
  formula: () => null,
};
