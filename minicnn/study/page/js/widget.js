// The component: state, keys, and the drawing of one step. `model` is a notebook's, or the few lines of host.js.

const KEYS = [
  ["arrow keys", "move the chosen value, and the window with it (on a map)"],
  ["n, p", "next, previous step of the network"],
  ["f, b", "forward, backward"],
  ["m", "the next view of this step"],
  [", .", "previous, next channel of the map"],
  ["u, d", "up to the step that made the input at this place; down to the step that uses the output"],
];
const USUAL = { dilation: "1,1", groups: "1", ignore_index: "-100", label_smoothing: "0", reduction: "mean", start_dim: "1", end_dim: "-1" }; // not said
const STRIP = 16; // channels in a strip below a map

// What an explanation needs of one step.
class Context {
  constructor(widget) {
    const { source, state } = widget;
    Object.assign(this, { widget, source, state, number: state.step, step: source.description.steps[state.step] });
    this.gradKey = `g${this.step.output}`;
  }

  key(name) {
    if (name === "y") return `t${this.step.output}`;
    if (name === "dy") return this.gradKey;
    if (name.startsWith("k:")) return `k${this.number}:${name.slice(2)}`;
    return `t${this.step.inputs[name]}`;
  }

  has(name) {
    return name in this.step.inputs;
  }

  hasBack(name) {
    return this.step.back && this.has(name) && this.source.description.tensors[this.step.inputs[name]].gradient;
  }

  // What this step alone sends back to an input.
  backKey(name) {
    return this.step.own.includes(name) ? `c${this.number}:${name}` : `g${this.step.inputs[name]}`;
  }

  shared(name) {
    const { users } = this.source.description.tensors[this.step.inputs[name]];
    return users.length > 1 ? `${users.length} steps use this; here is the share of this one. What comes back from all of them is added.` : null;
  }

  shape = (name) => this.source.shape(this.key(name));
  block = (name, ranges) => this.source.block(this.key(name), ranges);
  value = (name, at) => this.source.value(this.key(name), at);
  back = (name, at) => this.source.value(this.backKey(name), at);
  choose = (at) => this.widget.choose(at);
  set = (...change) => this.widget.set(...change);
  className = (j) => {
    const { classes, output } = this.source.description;
    const scores = this.step.output === output || this.step.inputs.x === output;
    return scores && j < classes.length ? `${j} ${classes[j]}` : null;
  };
}

class Explorer {
  constructor(model, element) {
    this.source = new Source(model);
    this.state = { step: 0, mode: "y", places: {}, shown: 0, image: 0, whole: false, progress: null };
    this.ticket = 0;
    const { title, about, loss, steps } = this.source.description;
    this.state.step = Math.max(0, steps.findIndex((step) => step.held));
    this.layers = new Layers(this.source, (number) => this.go(number));
    this.main = make("section", { class: "step", "aria-label": "One step of the network" });
    this.live = make("p", { class: "hidden", role: "status", "aria-live": "polite" });
    this.answer = make("p", { class: "answer" });
    this.element = make(
      "div",
      { class: "minicnn", tabindex: "-1" },
      make("header", {}, make("h1", {}, title), make("p", { class: "soft" }, about), this.answer),
      make("div", { class: "body" }, this.layers.element, this.main),
      make("details", { class: "keys" }, make("summary", {}, "Keys"), make("dl", {}, KEYS.map(([key, what]) => make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, what))))),
      this.live,
    );
    if (loss !== null) this.answer.append(`loss ${fmt(loss)}`);
    this.element.addEventListener("keydown", (event) => this.typed(event));
    element.append(this.element);
    this.answered().catch(() => {});
    this.render();
  }

  close() {
    this.layers.close();
    this.source.close();
    clearInterval(this.timer);
    this.element.remove();
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
    const view = VIEWS[context.step.operation] ?? PLAIN;
    return view.modes(context).filter((mode) => {
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
    if (shape.length === 4 && mode.target !== "w") return [0, 0, shape[2] >> 1, shape[3] >> 1];
    return shape.map((size, axis) => (mode.target === "w" && shape.length === 4 && axis > 1 ? size >> 1 : 0));
  }

  // Where nothing is chosen yet, the largest gradient in the plane.
  async loudest(context, mode, at) {
    const name = `${context.number} ${mode.target}`;
    if (this.state.places[name] || at.length < 2) return at;
    const key = mode.gradient ? context.gradKey : context.backKey(mode.target);
    const shape = this.source.shape(key);
    const { lead } = planeOf(shape);
    const block = await this.source.block(key, at.slice(0, lead));
    const best = block.data.reduce((most, value, i, all) => (Math.abs(value) > Math.abs(all[most]) ? i : most), 0);
    const inner = shape.slice(lead);
    this.state.places[name] = [...at.slice(0, lead), ...unflat(best, inner)];
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

  typed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.matches?.("input[type=number], select, textarea")) return;
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
    const { lead } = planeOf(shape);
    if (!lead) return;
    const at = this.place(context, mode);
    at[lead - 1] = (at[lead - 1] + by + shape[lead - 1]) % shape[lead - 1];
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
        const at = this.place(context, mode);
        for (let axis = shape.length - 1; axis >= planeOf(shape).lead; axis--) {
          at[axis] += 1;
          if (at[axis] < shape[axis]) break;
          at[axis] = 0;
        }
        this.choose(at);
      }, 700);
    }
    this.render();
  }

  // ---- drawing -------------------------------------------------------------------------------------------------------

  async render() {
    const ticket = ++this.ticket;
    const context = new Context(this);
    const mode = this.mode(context);
    let at = this.place(context, mode);
    let content;
    try {
      if (!context.step.held) throw new Error("The arrays of this step are not in this file, which holds only a part of the network. All of it: minicnn explore, without --html.");
      if (mode.side === "backward") at = await this.loudest(context, mode, at);
      if (ticket !== this.ticket) return;
      const view = await (VIEWS[context.step.operation] ?? PLAIN).views[mode.id](context, at);
      const target = await this.target(context, mode, at);
      const maps = await Promise.all((view.maps ?? []).map((map) => this.map(map)));
      if (ticket !== this.ticket) return;
      this.view = view;
      content = this.explanation(view, maps, target);
      this.live.textContent = this.spoken(view, context, mode, at);
    } catch (error) {
      if (ticket !== this.ticket) return;
      content = [make("p", { class: "error", role: "alert" }, error.message)];
    }
    const root = this.element.getRootNode();
    const focus = this.main.contains(root.activeElement) ? root.activeElement.dataset.focus : undefined;
    this.main.replaceChildren(this.head(context, mode), ...content);
    this.main.dataset.shown = `${this.state.step} ${mode.id} ${at.join(",")}`;
    this.layers.show(this.state.step);
    if (focus) [...this.main.querySelectorAll("[data-focus]")].find((item) => item.dataset.focus === focus)?.focus({ preventScroll: true });
  }

  spoken(view, context, mode, at) {
    const name = mode.side === "backward" ? `gradient of ${mode.target}` : "output";
    const value = view.sum ? `${fmt(view.sum.total)}, engine ${fmt(view.sum.engine)}` : "";
    return `${layerName(context.step)}, ${name} at ${at.join(", ")}: ${value}`;
  }

  head(context, mode) {
    const { steps, tensors } = this.source.description;
    const { step, number } = context;
    const shapes = Object.entries(step.inputs).map(([name, tensor]) => `${name} ${times(tensors[tensor].shape) || "number"}`);
    const options = Object.entries(step.options)
      .filter(([name, value]) => value !== null && typeof value !== "boolean" && [value].flat().join() !== USUAL[name])
      .map(([name, value]) => `${name.replaceAll("_", " ")} ${Array.isArray(value) ? [...new Set(value)].join(", ") : typeof value === "number" ? fmt(value) : value}`);
    const jump = (to, text) => make("button", { type: "button", onclick: () => this.go(to), "data-focus": `go ${text}` }, text);
    const from = Object.entries(step.inputs).filter(([, tensor]) => tensors[tensor].maker !== null).map(([name, tensor]) => jump(tensors[tensor].maker, `${name} ← ${layerName(steps[tensors[tensor].maker])}`));
    const to = tensors[step.output].users.map((user) => jump(user, `→ ${layerName(steps[user])}`));
    return make(
      "div",
      { class: "head" },
      make(
        "div",
        { class: "walk" },
        make("button", { type: "button", disabled: number === 0, onclick: () => this.go(number - 1), "data-focus": "previous", "aria-label": "previous step" }, "◀"),
        make("h2", {}, layerName(step), make("span", { class: "soft" }, ` ${operationName(step)}`)),
        make("button", { type: "button", disabled: number === steps.length - 1, onclick: () => this.go(number + 1), "data-focus": "next", "aria-label": "next step" }, "▶"),
      ),
      make("p", { class: "soft" }, `${shapes.join(", ")} → ${times(tensors[step.output].shape) || "one number"}`, options.length ? ` · ${options.join(", ")}` : "", step.algorithm ? ` · computed by ${step.algorithm}` : ""),
      make("p", { class: "links" }, from, to),
      math((VIEWS[step.operation] ?? PLAIN).formula(context)),
      this.modeButtons(context, mode),
    );
  }

  modeButtons(context, mode) {
    const names = { forward: "Forward", inside: "Inside algorithms", backward: "Backward" };
    const modes = this.modes(context);
    const groups = Object.entries(names).map(([side, name]) => {
      const own = modes.filter((item) => item.side === side);
      return own.length
        ? make(
            "div",
            { class: "group", role: "group", "aria-label": name },
            make("span", { class: "soft" }, name),
            own.map((item) =>
              make("button", { type: "button", "aria-pressed": String(item.id === mode.id), "data-mode": item.id, "data-focus": `mode ${item.id}`, onclick: () => this.set({ mode: item.id, shown: 0 }) }, item.label),
            ),
          )
        : null;
    });
    return make("div", { class: "modes" }, groups);
  }

  // The map on which a value is chosen.
  async target(context, mode, at) {
    const backward = mode.side === "backward";
    const key = !backward ? context.key(mode.target) : mode.gradient ? context.gradKey : context.backKey(mode.target);
    const shape = this.source.shape(key);
    const plane = planeOf(shape);
    const lead = at.slice(0, plane.lead);
    const block = await this.source.block(key, lead);
    const name = `${backward ? "∂L/∂" : ""}${mode.target}`;
    const figure = mapView({
      ...plane,
      title: backward ? `${name}${mode.gradient ? ": choose one" : ""}` : "output y",
      caption: lead.length ? `[${[...lead, "…"].join(", ")}]` : "",
      values: block.data,
      chosen: placeIn(shape, at),
      focus: "target",
      label: (row, column) => `${indexAt(shape, lead, row, column).join(", ")}: ${fmt(block.at(...indexAt(shape, lead, row, column)))}`,
      pick: (row, column) => this.choose(indexAt(shape, lead, row, column)),
    });
    figure.classList.add("target");
    const names = { 4: ["image", "channel", "row", "column"], 2: ["image", "number"], 1: ["number"] };
    if (mode.target === "w") Object.assign(names, { 4: ["output", "input", "row", "column"], 2: ["output", "input"] });
    const spins = at.map((value, axis) =>
      shape[axis] > 1
        ? spin(names[shape.length]?.[axis] ?? `axis ${axis}`, value, shape[axis], (to) => this.choose(at.map((old, i) => (i === axis ? to : old))), `spin ${axis}`)
        : null,
    );
    figure.append(
      make(
        "div",
        { class: "spins" },
        spins,
        plane.rows * plane.columns > 1
          ? make("button", { type: "button", onclick: () => this.play(), "aria-pressed": String(Boolean(this.timer)), "data-focus": "play" }, this.timer ? "stop" : mode.side === "backward" ? "walk on" : "slide the window")
          : null,
      ),
      make("p", { class: "picked" }, at.length ? `${name}[${at.join(", ")}] = ` : `${name} = `, make("strong", {}, exact(block.at(...at)))),
    );
    if (shape.length === 4 && shape[1] > 1 && plane.rows * plane.columns > 1 && mode.target !== "w") figure.append(await this.strip(key, shape, at));
    return figure;
  }

  // Small pictures of the channels around the chosen one.
  async strip(key, shape, at) {
    const first = Math.min(Math.floor(at[1] / STRIP) * STRIP, Math.max(0, shape[1] - STRIP));
    const many = Math.min(STRIP, shape[1]);
    const block = await this.source.block(key, [at[0], [first, first + many]]);
    const size = shape[2] * shape[3];
    const thumb = (i) => {
      const values = block.data.subarray(i * size, (i + 1) * size);
      return make(
        "button",
        { type: "button", "aria-label": `channel ${first + i}`, "aria-pressed": String(first + i === at[1]), "data-focus": `thumb ${first + i}`, onclick: () => this.choose([at[0], first + i, ...at.slice(2)]) },
        painted(values, shape[2], shape[3], largest(values)),
      );
    };
    const page = (to, text, label) => make("button", { type: "button", class: "page", "aria-label": label, disabled: to < 0 || to >= shape[1], onclick: () => this.choose([at[0], to, ...at.slice(2)]), "data-focus": label }, text);
    return make(
      "div",
      { class: "strip", role: "group", "aria-label": "channels" },
      shape[1] > STRIP ? page(first - 1, "‹", "channels before") : null,
      Array.from({ length: many }, (_, i) => thumb(i)),
      shape[1] > STRIP ? page(first + STRIP, "›", "channels after") : null,
    );
  }

  async map(map) {
    const shape = this.source.shape(map.key);
    const plane = planeOf(shape);
    const block = await this.source.block(map.key, map.lead);
    return mapView({
      ...plane,
      ...map,
      title: map.name,
      caption: map.lead.length ? `[${[...map.lead, "…"].join(", ")}]` : "",
      values: block.data,
      chosen: undefined,
      label: undefined,
    });
  }

  explanation(view, maps, target) {
    const toggle = () => this.set({ whole: !this.state.whole });
    return [
      make("div", { class: "flow" }, view.first ? target : maps, view.grids?.length ? make("div", { class: "pieces" }, view.grids.map(gridView)) : null, view.extra ?? null, view.first ? maps : target),
      ...(view.after ?? []).map((line) => make("div", { class: "formula" }, math(line))),
      make("div", { class: "formula" }, (view.math ?? []).map((line) => math(line))),
      view.sum ? checkView(view.sum) : null,
      view.terms ? termsView(view.terms) : null,
      view.bars ? barsView({ ...view.bars, whole: this.state.whole, toggle }) : null,
      make("div", { class: "notes" }, (view.notes ?? []).filter(Boolean).map((note) => make("p", {}, note))),
    ].filter(Boolean);
  }
}

function render({ model, el }) {
  const explorer = new Explorer(model, el);
  return () => explorer.close();
}

export default { render };
