// The component: state and keys. `model` is a notebook's, or the few lines of host.js.

const KEYS = [
  ["arrow keys", "move the chosen value, and the window with it (on a map); go through the steps (in their list)"],
  ["n, p", "next, previous step of the network"],
  ["f, b", "forward, backward"],
  ["m", "the next view of this step"],
  [", .", "previous, next channel of the map"],
  ["u, d", "up to the step that made the input at this place; down to the step that uses the output"],
];

const HINT = "Choose a number in a picture, by pointer or arrow keys: its terms are below. n and p go through the network, b turns to the backward pass, f forward again.";
const LETTERS = ["n", "p", "f", "b", "m", "u", "d", ",", "."];
const CONTROL_KEYS = [...Object.keys(ARROWS), "Home", "End", "Enter", " "];

class Explorer extends StepView {
  constructor(model, element) {
    super();
    this.source = new Source(model);
    this.state = { step: 0, mode: "y", places: {}, shown: 0, image: 0, whole: false, progress: null };
    this.ticket = 0;
    const { title, about, loss, steps } = this.source.description;
    this.state.step = Math.max(0, steps.findIndex((step) => step.held));
    this.layers = new Layers(this.source, (number) => this.go(number));
    this.main = make("section", { class: "step", "aria-label": "One step of the network" });
    this.live = make("p", { class: "hidden", role: "status", "aria-live": "polite" });
    this.answer = make("p", { class: "answer" });
    this.picture = make("div", { class: "image" });
    this.element = make(
      "div",
      { class: "minicnn", tabindex: "-1" },
      make("header", {}, this.picture, make("div", {}, make("h1", {}, title), make("p", { class: "soft" }, about), this.answer, make("p", { class: "soft" }, HINT))),
      make("div", { class: "body" }, this.layers.element, this.main),
      make("details", { class: "keys" }, make("summary", {}, "Keys"), make("dl", {}, KEYS.map(([key, what]) => make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, what))))),
      this.live,
    );
    if (loss !== null) this.answer.append(`loss ${fmt(loss)}`);
    this.element.addEventListener("keydown", (event) => this.typed(event));
    // Jupyter may look at a key before it gets here: before that, an attribute of the element says that it is not Jupyter's.
    this.claim = (event) => {
      const [at] = event.composedPath();
      if (this.element.contains(at)) at.toggleAttribute("data-lm-suppress-shortcuts", this.ours(event, at));
    };
    window.addEventListener("keydown", this.claim, true);
    element.append(this.element);
    this.answered().catch(() => {});
    this.pictured().catch(() => {});
    this.render();
  }

  close() {
    this.layers.close();
    this.source.close();
    clearInterval(this.timer);
    window.removeEventListener("keydown", this.claim, true);
    this.element.remove();
  }

  // The image as it was given to the network, from its darkest to its brightest value.
  async pictured() {
    const [, channels, rows, columns] = this.source.description.tensors[0].shape;
    if (channels !== 1 && channels !== 3) return;
    const { data } = await this.source.block("t0", [0]);
    let [low, high] = [Infinity, -Infinity];
    for (const value of data) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const canvas = make("canvas", { width: columns, height: rows, role: "img", "aria-label": "the image" });
    const image = new ImageData(columns, rows);
    for (let i = 0; i < rows * columns; i++) {
      for (let channel = 0; channel < 3; channel++) {
        image.data[4 * i + channel] = (255 * (data[(channel % channels) * rows * columns + i] - low)) / (high - low || 1);
      }
      image.data[4 * i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    this.picture.append(canvas);
  }

  // The three most probable classes, where the output is scores.
  async answered() {
    const { output, tensors, classes } = this.source.description;
    if (output === null || tensors[output].shape.length !== 2) return;
    const scores = Array.from((await this.source.block(`t${output}`, [0])).data);
    if (scores.length < 2) return;
    const { p } = softmaxOf(scores);
    const best = p.map((_, j) => j).sort((a, b) => p[b] - p[a]).slice(0, 3);
    this.answer.prepend("The network says: ", best.map((j) => `${classes[j] ?? `class ${j}`} ${(100 * p[j]).toFixed(1)} %`).join(", "), " · ");
  }

  // ---- state ---------------------------------------------------------------------------------------------------------

  modes(context = new Context(this)) {
    return viewOf(context.step).modes(context).filter((mode) => {
      if (mode.side === "backward" && !mode.gradient) return context.hasBack(mode.target);
      return !mode.gradient || context.step.back;
    });
  }

  mode(context) {
    const modes = this.modes(context);
    return modes.find((mode) => mode.id === this.state.mode) ?? modes[0];
  }

  targetShape(context, mode) {
    return context.shape(mode.target);
  }

  place(context, mode) {
    const shape = this.targetShape(context, mode);
    const kept = this.state.places[`${context.number} ${mode.target}`];
    if (kept && kept.length === shape.length) return inside(kept, shape);
    const filed = context.step.filed?.[mode.id];
    if (filed?.length) return filed[0];
    if (shape.length === 4 && mode.target !== "w") return [0, 0, shape[2] >> 1, shape[3] >> 1];
    return shape.map((size, axis) => (mode.target === "w" && shape.length === 4 && axis > 1 ? size >> 1 : 0));
  }

  // Where nothing is chosen yet, the largest gradient in the plane.
  async loudest(context, mode, at) {
    const name = `${context.number} ${mode.target}`;
    if (this.state.places[name] || at.length < 2 || context.step.filed?.[mode.id]) return at;
    const key = mode.gradient ? context.gradKey : context.backKey(mode.target);
    const shape = this.source.shape(key);
    const { axes } = planeOf(shape);
    const block = await this.source.block(key, sliceAt(shape, at));
    const best = block.data.reduce((most, value, i, all) => (Math.abs(value) > Math.abs(all[most]) ? i : most), 0);
    const inner = unflat(best, axes.map((axis) => shape[axis]));
    this.state.places[name] = at.map((value, axis) => (axes.includes(axis) ? inner[axes.indexOf(axis)] : value));
    return this.state.places[name];
  }

  choose(at) {
    const context = new Context(this);
    const mode = this.mode(context);
    this.set({}, mode.target, inside(at, this.targetShape(context, mode)));
  }

  set(change, target, at) {
    Object.assign(this.state, change);
    if (target) this.state.places[`${this.state.step} ${target}`] = at;
    this.render();
  }

  go(number, target, at) {
    const { steps } = this.source.description;
    if (number < 0 || number >= steps.length) return;
    if (this.timer) this.play(); // ends it
    const side = this.modes().find((mode) => mode.id === this.state.mode)?.side;
    this.state.step = number;
    const modes = this.modes();
    this.state.mode = (modes.find((mode) => mode.side === (side === "backward" ? "backward" : "forward")) ?? modes[0]).id;
    this.set({ shown: 0, progress: null }, target, at);
  }

  // To the step that made the input here, at the place that is looked at; or to the first that uses the output.
  follow(upwards) {
    const context = new Context(this);
    const { tensors } = this.source.description;
    if (upwards) {
      const map = this.view?.maps?.find(({ key }) => /^[tg]\d+$/.test(key) && key !== context.gradKey && Object.values(context.step.inputs).includes(Number(key.slice(1))));
      const number = map ? Number(map.key.slice(1)) : context.step.inputs.x ?? Object.values(context.step.inputs)[0];
      const maker = tensors[number]?.maker;
      if (maker === null || maker === undefined) return;
      const shape = tensors[number].shape;
      const spot = map?.marks?.[0] ?? (map?.window ? [map.window[0] + ((map.window[2] - 1) >> 1) * (map.window[4] ?? 1), map.window[1] + ((map.window[3] - 1) >> 1) * (map.window[5] ?? 1)] : null);
      const mode = this.mode(context);
      const at = mode.side === "backward" && mode.target === "x" ? this.place(context, mode) : spot ? indexAt(shape, map.lead, ...spot) : null;
      this.go(maker, at ? "y" : undefined, at && inside(at, shape));
    } else {
      const user = tensors[context.step.output].users[0];
      if (user !== undefined) this.go(user);
    }
  }

  // Whether a key is for us: ours, or one that the map, button or box at which it was typed takes.
  ours(event, at) {
    if (event.altKey || event.ctrlKey || event.metaKey) return false;
    if (CONTROL_KEYS.includes(event.key)) return !event.shiftKey && at.matches("button, summary, input, .map.live");
    return LETTERS.includes(event.key) && !at.matches("input[type=number]");
  }

  typed(event) {
    if (!this.ours(event, event.target)) return;
    event.stopPropagation(); // a notebook around us would cut or insert a cell
    const modes = this.modes();
    const here = modes.findIndex((mode) => mode.id === this.mode(new Context(this)).id);
    const side = (wanted) => modes.find((mode) => mode.side === wanted) && this.set({ mode: modes.find((mode) => mode.side === wanted).id, shown: 0 });
    const acts = {
      n: () => this.go(this.state.step + 1),
      p: () => this.go(this.state.step - 1),
      f: () => side("forward"),
      b: () => side("backward"),
      m: () => this.set({ mode: modes[(here + 1) % modes.length].id, shown: 0 }),
      u: () => this.follow(true),
      d: () => this.follow(false),
      ",": () => this.turn(-1),
      ".": () => this.turn(1),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  // Another channel of the map.
  turn(by) {
    const context = new Context(this);
    const mode = this.mode(context);
    const shape = this.targetShape(context, mode);
    const axis = shape.findLastIndex((size, i) => size > 1 && !planeOf(shape).axes.includes(i));
    if (axis < 0) return;
    const at = [...this.place(context, mode)];
    at[axis] = (at[axis] + by + shape[axis]) % shape[axis];
    this.choose(at);
  }

  play() {
    if (this.timer) {
      clearInterval(this.timer);
      this.timer = null;
    } else {
      this.timer = setInterval(() => {
        const context = new Context(this);
        const mode = this.mode(context);
        const shape = this.targetShape(context, mode);
        const at = [...this.place(context, mode)];
        for (const axis of [...planeOf(shape).axes].reverse()) {
          at[axis] += 1;
          if (at[axis] < shape[axis]) break;
          at[axis] = 0;
        }
        this.choose(at);
      }, 700);
    }
    this.render();
  }
}

function render({ model, el }) {
  const explorer = new Explorer(model, el);
  return () => explorer.close();
}

export default { render };
