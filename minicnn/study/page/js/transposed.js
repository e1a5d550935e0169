// Transposed convolution: a convolution that is read the other way round. Its output is what a convolution with the same
// kernel sends back to its input, and its gradient ∂L/∂x is what that convolution computes forward: so the views of
// conv.js draw it, with the roles exchanged.

const ROLES = { x: "dy", dy: "x", y: "dx", dx: "y" };

function mirrored(c) {
  const m = Object.create(c);
  return Object.assign(m, {
    mirror: c,
    gradKey: c.key("x"),
    backKey: (name) => (name === "x" ? c.key("y") : c.backKey(name)),
    key: (name) => c.key(ROLES[name] ?? name),
    shape: (name) => c.shape({ x: "y", y: "x", dy: "x" }[name] ?? name),
    block: (name, ranges) => c.block(ROLES[name] ?? name, ranges),
    value: (name, at) => (name === "y" ? c.back("x", at) : c.value(ROLES[name] ?? name, at)),
    back: (name, at) => (name === "x" ? c.value("y", at) : c.back(name, at)),
    has: (name) => name !== "b" && c.has(name),
    shared: (name) => (name === "x" ? null : c.shared(name)),
    sign: (name, ...index) => c.sign(ROLES[name] ?? name, ...index),
    text: (name) => c.text(ROLES[name] ?? name),
  });
}

const TRANSPOSED = {
  modes: (c) => [
    { id: "y", side: "forward", label: "output", target: "y" },
    { id: "spread", side: "forward", label: "where one x goes", target: "x" },
    { id: "x", side: "backward", label: "∂L/∂x", target: "x" },
    { id: "w", side: "backward", label: "∂L/∂w", target: "w" },
    ...(c.has("b") ? [{ id: "b", side: "backward", label: "∂L/∂b", target: "b" }] : []),
  ],
  views: {
    y: (c, at) => convGradInput(mirrored(c), at),
    spread: (c, at) => convSpread(mirrored(c), at),
    x: (c, at) => convForward(mirrored(c), at),
    w: (c, at) => convGradWeight(mirrored(c), at),
    b: (c, at) => sumOverAll(c, at, "channel", 1),
  },
  formula: (c) => {
    const z = convSizes(mirrored(c));
    return mrow(
      msub("y", "n", "k", ...convPlaces(z, "h", "v")), mo("+="), msub("x", "n", "c", "h", "v"), msub("w", "c", "k", "r", "s"),
      ...(c.has("b") ? [mtext(",  beginning with "), msub("b", "k")] : []),
    );
  },
};
