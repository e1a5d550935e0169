// Operations on single values: ReLU, sums, numbers that only move.

// y, the factor dy/dx, and both as mathematics, from x
const FUNCTIONS = {
  relu: { y: (x) => (x > 0 ? x : 0), factor: (x) => (x > 0 ? 1 : 0), show: (x) => mrow(mi("max"), mo("("), x, mo(","), mml("mn", "0"), mo(")")), rule: () => mrow(mml("mn", "1"), mtext(" where "), mi("x"), mo(">"), mml("mn", "0")) },
  sigmoid: { y: (x) => 1 / (1 + Math.exp(-x)), factor: (x, y) => y * (1 - y), show: (x) => mfrac(mml("mn", "1"), mrow(mml("mn", "1"), mo("+"), mml("msup", mi("e"), mrow(mo("−"), x)))), rule: () => mrow(mi("y"), mo("("), mml("mn", "1"), mo("−"), mi("y"), mo(")")) },
  tanh: { y: (x) => Math.tanh(x), factor: (x, y) => 1 - y * y, show: (x) => mrow(mi("tanh"), mo("("), x, mo(")")), rule: () => mrow(mml("mn", "1"), mo("−"), msquared(mi("y"))) },
  exp: { y: (x) => Math.exp(x), factor: (x, y) => y, show: (x) => mml("msup", mi("e"), x), rule: () => mi("y") },
};

const sameMap = (c, key, name, at) => ({ key, name, lead: sliceAt(c.source.shape(key), at), marks: [placeIn(c.source.shape(key), at)] });

function unary(name) {
  const f = FUNCTIONS[name];
  return {
    modes: inOut,
    views: {
      y: async (c, at) => {
        const x = await c.value("x", at);
        return {
          maps: [sameMap(c, c.key("x"), "input x", at)],
          math: [mrow(msub("y", ...at), mo("="), f.show(msub("x", ...at)), mo("="), f.show(mnum(x)), mo("="), mnum(f.y(x)))],
          notes: [],
          sum: { total: f.y(x), engine: await c.value("y", at), scale: 1, what: "computed here " },
        };
      },
      x: async (c, at) => {
        const [x, dy] = await Promise.all([c.value("x", at), c.value("dy", at)]);
        const factor = f.factor(x, f.y(x));
        return {
          maps: [sameMap(c, c.gradKey, "∂L/∂y", at)],
          math: [mrow(mgrad("x", ...at), mo("="), mgrad("y", ...at), mo("·"), f.rule(), mo("="), mnum(dy), mo("·"), mnum(factor, true), mo("="), mnum(dy * factor))],
          notes: [c.shared("x")],
          sum: { total: dy * factor, engine: await c.back("x", at), scale: Math.abs(dy) },
        };
      },
    },
    formula: () => mrow(mi("y"), mo("="), f.show(mi("x"))),
  };
}

const ADD = {
  modes: () => [
    { id: "y", side: "forward", label: "output", target: "y" },
    { id: "a", side: "backward", label: "∂L/∂a", target: "a" },
    { id: "b", side: "backward", label: "∂L/∂b", target: "b" },
  ],
  views: {
    y: async (c, at) => {
      const [a, b] = await Promise.all([c.value("a", at), c.value("b", at)]);
      return {
        maps: [sameMap(c, c.key("a"), "a", at), sameMap(c, c.key("b"), "b", at)],
        math: [mrow(msub("y", ...at), mo("="), msub("a", ...at), mo("+"), msub("b", ...at), mo("="), mnum(a), mo("+"), mnum(b, true), mo("="), mnum(a + b))],
        notes: [],
        sum: { total: a + b, engine: await c.value("y", at), scale: Math.abs(a) + Math.abs(b) },
      };
    },
    a: (c, at) => passOn(c, "a", at),
    b: (c, at) => passOn(c, "b", at),
  },
  formula: () => mrow(mi("y"), mo("="), mi("a"), mo("+"), mi("b")),
};

async function passOn(c, name, at) {
  const dy = await c.value("dy", at);
  return {
    maps: [sameMap(c, c.gradKey, "∂L/∂y", at)],
    math: [mrow(mgrad(name, ...at), mo("="), mgrad("y", ...at), mo("="), mnum(dy))],
    notes: ["The gradient of a sum goes to both summands unchanged.", c.shared(name)],
    sum: { total: dy, engine: await c.back(name, at), scale: Math.abs(dy), what: "passed on " },
  };
}

// ---- numbers that only move: the place in x of a place in y, and back -------------------------------------------------

const flat = (index, shape) => index.reduce((place, value, axis) => place * shape[axis] + value, 0);
function unflat(place, shape) {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(place % shape[axis]);
    place = Math.floor(place / shape[axis]);
  }
  return index;
}

const RESHAPE = {
  modes: inOut,
  views: {
    y: async (c, at) => {
      const from = unflat(flat(at, c.shape("y")), c.shape("x"));
      const value = await c.value("x", from);
      return {
        maps: [sameMap(c, c.key("x"), "input x", from)],
        math: [mrow(msub("y", ...at), mo("="), msub("x", ...from), mo("="), mnum(value))],
        notes: ["Nothing is computed: the same numbers in another shape, in reading order."],
        sum: { total: value, engine: await c.value("y", at), scale: Math.abs(value), what: "found there " },
      };
    },
    x: async (c, at) => {
      const to = unflat(flat(at, c.shape("x")), c.shape("y"));
      const value = await c.value("dy", to);
      return {
        maps: [sameMap(c, c.gradKey, "∂L/∂y", to)],
        math: [mrow(mgrad("x", ...at), mo("="), mgrad("y", ...to), mo("="), mnum(value))],
        notes: [c.shared("x")],
        sum: { total: value, engine: await c.back("x", at), scale: Math.abs(value), what: "found there " },
      };
    },
  },
  formula: () => mrow(mi("y"), mo("="), mtext("the numbers of "), mi("x"), mtext(" in another shape")),
};

const joined = (c) => {
  const names = Object.keys(c.step.inputs);
  const axis = (c.step.options.dim ?? 0) < 0 ? c.shape("y").length + c.step.options.dim : c.step.options.dim ?? 0;
  let start = 0;
  return { axis, pieces: names.map((name) => ({ name, start, stop: (start += c.shape(name)[axis]) })) };
};

const CONCATENATE = {
  modes: (c) => [
    { id: "y", side: "forward", label: "output", target: "y" },
    ...Object.keys(c.step.inputs).map((name) => ({ id: name, side: "backward", label: `∂L/∂${name}`, target: name })),
  ],
  views: new Proxy({}, {
    get: (_, mode) => async (c, at) => {
      const { axis, pieces } = joined(c);
      if (mode === "y") {
        const piece = pieces.find(({ start, stop }) => at[axis] >= start && at[axis] < stop);
        const from = at.map((value, i) => (i === axis ? value - piece.start : value));
        const value = await c.value(piece.name, from);
        return {
          maps: [sameMap(c, c.key(piece.name), `input ${piece.name}`, from)],
          math: [mrow(msub("y", ...at), mo("="), msub(piece.name, ...from), mo("="), mnum(value))],
          notes: [`Indices ${piece.start} to ${piece.stop - 1} along axis ${axis} are those of ${piece.name}.`],
          sum: { total: value, engine: await c.value("y", at), scale: Math.abs(value), what: "found there " },
        };
      }
      const piece = pieces.find(({ name }) => name === mode);
      const to = at.map((value, i) => (i === axis ? value + piece.start : value));
      const value = await c.value("dy", to);
      return {
        maps: [sameMap(c, c.gradKey, "∂L/∂y", to)],
        math: [mrow(mgrad(mode, ...at), mo("="), mgrad("y", ...to), mo("="), mnum(value))],
        notes: [c.shared(mode)],
        sum: { total: value, engine: await c.back(mode, at), scale: Math.abs(value), what: "found there " },
      };
    },
  }),
  formula: () => mrow(mi("y"), mo("="), mo("["), msub("x", 0), mo(","), msub("x", 1), mo(","), mo("…"), mo("]")),
};

const DROPOUT = {
  modes: inOut,
  views: {
    y: (c, at) => dropped(c, at, "x", "y", c.key("x"), "input x"),
    x: (c, at) => dropped(c, at, "dy", "x", c.gradKey, "∂L/∂y"),
  },
  formula: () => mrow(mi("y"), mo("="), mfrac(mrow(mi("x"), mi("m")), mrow(mml("mn", "1"), mo("−"), mi("p")))),
};

async function dropped(c, at, from, to, key, name) {
  const p = c.step.options.p ?? 0;
  const [value, kept] = await Promise.all([c.value(from, at), c.step.arrays.mask ? c.value("k:mask", at) : 1]);
  const total = p === 1 ? 0 : (value * kept) / (1 - p);
  return {
    maps: [sameMap(c, key, name, at)],
    terms: [{ name: "kept", formula: mi("m"), value: kept }, { name: "probability of dropping", formula: mi("p"), value: p }],
    math: [mrow(mfrac(mrow(mnum(value), mo("·"), mnum(kept)), mrow(mml("mn", "1"), mo("−"), mnum(p))), mo("="), mnum(total))],
    notes: [],
    sum: { total, engine: await (to === "y" ? c.value("y", at) : c.back("x", at)), scale: Math.abs(total) },
  };
}
