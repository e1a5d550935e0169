// The drawing of one step: its head, the views to choose from, maps, pieces, sums and notes.

const USUAL = { dilation: "1,1", groups: "1", ignore_index: "-100", label_smoothing: "0", reduction: "mean", start_dim: "1", end_dim: "-1" }; // not said
const STRIP = 16; // channels in a strip below a map
const PATIENCE = 4000; // ms
const LATE = "No numbers yet. In a notebook: the kernel is busy, or it has ended; then run the cell again.";

class StepView {
  async render() {
    const ticket = ++this.ticket;
    const context = new Context(this);
    const mode = this.mode(context);
    let at = this.place(context, mode);
    let [content, view] = [];
    const late = setTimeout(() => ticket === this.ticket && this.main.prepend(make("p", { class: "late", role: "status" }, LATE)), PATIENCE);
    try {
      if (!context.step.held) throw new Error("The arrays of this step are not in this file, which holds only a part of the network. All of it: minicnn explore, without --html.");
      if (mode.side === "backward") at = await this.loudest(context, mode, at);
      if (ticket !== this.ticket) return;
      view = await viewOf(context.step).views[mode.id](context, at);
      const target = await this.target(context, mode, at);
      const maps = await Promise.all((view.maps ?? []).map((map) => this.map(map)));
      if (ticket !== this.ticket) return;
      this.view = view;
      content = this.explanation(view, maps, target);
      this.live.textContent = this.spoken(view, context, mode, at);
    } catch (error) {
      if (ticket !== this.ticket) return;
      content = [make("p", { class: "error", role: "alert" }, error.message)];
    } finally {
      clearTimeout(late);
    }
    const root = this.element.getRootNode();
    const focus = this.main.contains(root.activeElement) ? root.activeElement.dataset.focus : undefined;
    this.main.replaceChildren(this.head(context, mode, view), ...content);
    this.main.dataset.shown = `${this.state.step} ${mode.id} ${at.join(",")}`;
    this.layers.show(this.state.step);
    if (focus) [...this.main.querySelectorAll("[data-focus]")].find((item) => item.dataset.focus === focus)?.focus({ preventScroll: true });
  }

  spoken(view, context, mode, at) {
    const name = mode.side === "backward" ? `gradient of ${mode.target}` : "output";
    const value = view.sum ? `${fmt(view.sum.total)}, engine ${fmt(view.sum.engine)}` : "";
    return `${layerName(context.step)}, ${name} at ${at.join(", ")}: ${value}`;
  }

  formula(context, view) {
    const own = viewOf(context.step).formula(context);
    return own ? math(own) : view?.general ? math(fromTree(view.general)) : null;
  }

  head(context, mode, view) {
    const { steps, tensors } = this.source.description;
    const { step, number } = context;
    const shapes = Object.entries(step.inputs).map(([name, tensor]) => `${name} ${times(tensors[tensor].shape) || "number"}`);
    const options = Object.entries(step.options)
      .filter(([name, value]) => value !== null && typeof value !== "boolean" && [value].flat().join() !== USUAL[name])
      .map(([name, value]) => `${name.replaceAll("_", " ")} ${Array.isArray(value) ? [...new Set(value)].join(", ") : typeof value === "number" ? fmt(value) : value}`);
    const jump = (to, text) => make("button", { type: "button", onclick: () => this.go(to), "data-focus": `go ${text}` }, text);
    const from = Object.entries(step.inputs).filter(([, tensor]) => tensors[tensor].maker !== null).map(([name, tensor]) => jump(tensors[tensor].maker, `${name} ← ${nameFrom(step, steps[tensors[tensor].maker])}`));
    const to = tensors[step.output].users.map((user) => jump(user, `→ ${nameFrom(step, steps[user])}`));
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
      this.formula(context, view),
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
    const lead = sliceAt(shape, at);
    const block = await this.source.block(key, lead);
    const name = `${backward ? "∂L/∂" : ""}${mode.target}`;
    const filed = context.step.filed?.[mode.id] ?? []; // numbers whose terms a file has, where it has not all
    const here = filed.filter((index) => lead.every((value, axis) => value === null || index[axis] === value));
    const figure = mapView({
      ...plane,
      title: backward ? `${name}${mode.gradient ? ": choose one" : ""}` : mode.target === "y" ? "output y" : `input ${name}: choose one`,
      caption: sliceName(shape, lead),
      values: block.data,
      chosen: placeIn(shape, at),
      marks: here.length < block.data.length ? here.map((index) => [...placeIn(shape, index), "dashed"]) : [],
      focus: "target",
      label: (row, column) => `${indexAt(shape, lead, row, column).join(", ")}: ${fmt(block.at(...indexAt(shape, lead, row, column)))}`,
      pick: (row, column) => this.choose(indexAt(shape, lead, row, column)),
    });
    figure.classList.add("target");
    const names = { 4: ["image", "channel", "row", "column"], 2: ["image", "number"], 1: ["number"] };
    if (mode.target === "w") Object.assign(names, { 4: ["output", "input", "row", "column"], 2: ["output", "input"] });
    if (mode.target === "w" && context.step.operation === "conv_transpose2d") names[4] = ["input", "output", "row", "column"];
    if (["rnn", "lstm", "gru"].includes(context.step.operation)) Object.assign(names, { 4: ["h or c", "step", "sequence", "number"], 3: ["step", "sequence", "number"], 2: mode.target.startsWith("w") ? ["gate", "number"] : ["sequence", "number"] });
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
          ? make("button", { type: "button", onclick: () => this.play(), "aria-pressed": String(Boolean(this.timer)), "data-focus": "play" }, this.timer ? "stop" : mode.side === "forward" && /^conv2d|pool/.test(context.step.view) ? "slide the window" : "walk on")
          : null,
      ),
      make("p", { class: "picked" }, at.length ? `${name}[${at.join(", ")}] = ` : `${name} = `, make("strong", {}, exact(block.at(...at)))),
    );
    if (plane.axes.join() === "2,3" && shape[1] > 1 && mode.target !== "w") figure.append(await this.strip(key, shape, at));
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
    const plane = map.lead.length < shape.length ? { rows: shape.at(-2), columns: shape.at(-1) } : planeOf(shape);
    const block = await this.source.block(map.key, map.lead);
    return mapView({
      ...plane,
      ...map,
      title: map.name,
      caption: sliceName(shape, map.lead),
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
      view.more ?? null,
      make("div", { class: "notes" }, (view.notes ?? []).filter(Boolean).map((note) => make("p", {}, note))),
    ].filter(Boolean);
  }
}
