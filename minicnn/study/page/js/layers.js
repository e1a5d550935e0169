// The network as a column of layers, each with a few of its feature maps.

const VIEWS = {
  conv2d: CONV,
  conv_transpose2d: TRANSPOSED,
  max_pool2d: MAX_POOL,
  avg_pool2d: MEAN_POOL,
  adaptive_avg_pool2d: MEAN_POOL,
  batch_norm: NORM,
  batch_norm_relu: NORM,
  linear: LINEAR,
  cross_entropy: CROSS_ENTROPY,
  add: ADD,
  flatten: RESHAPE,
  reshape: RESHAPE,
  concatenate: CONCATENATE,
  dropout: DROPOUT,
  ...Object.fromEntries(Object.keys(FUNCTIONS).map((name) => [name, unary(name)])),
};

const viewOf = (step) => VIEWS[step.view] ?? EXPLAINED;

const THUMBS = 4;
const OPERATIONS = { conv2d: "convolution", max_pool2d: "max pooling", avg_pool2d: "average pooling", adaptive_avg_pool2d: "average pooling", batch_norm: "batch norm", batch_norm_relu: "batch norm, ReLU", cross_entropy: "cross-entropy", relu: "ReLU", conv_transpose2d: "transposed convolution", mse: "mean squared error", rnn: "recurrent layer", lstm: "LSTM", gru: "GRU", log_softmax: "log softmax" };

function operationName(step) {
  const name = OPERATIONS[step.operation] ?? step.operation.replaceAll("_", " ");
  return step.operation === "batch_norm_relu" && "residual" in step.inputs ? "batch norm, + shortcut, ReLU" : name;
}

const layerName = (step) => step.layer || operationName(step);
const nameFrom = (step, other) => (other.layer === step.layer ? operationName(other) : layerName(other)); // told apart

class Layers {
  constructor(source, go) {
    this.source = source;
    const { steps, tensors } = source.description;
    this.buttons = steps.map((step, number) =>
      make(
        "button",
        { type: "button", onclick: () => go(number), class: step.held ? null : "absent" },
        make("span", { class: "name" }, layerName(step)),
        make("span", { class: "soft" }, `${operationName(step)} · ${times(tensors[step.output].shape.slice(1)) || "1 number"}${step.held ? "" : " · not in this file"}`),
        make("span", { class: "thumbs", "aria-hidden": "true", "data-step": number }),
      ),
    );
    this.list = make("ol", { class: "list", onkeydown: (event) => this.typed(event, go) }, this.buttons.map((button) => make("li", {}, button)));
    this.element = make(
      "nav",
      { class: "layers", "aria-label": "Layers of the network" },
      make("details", { open: true }, make("summary", {}, plural(steps.length, "step")), this.list),
    );
    this.watch();
  }

  // Pictures are asked for when their layer is seen.
  watch() {
    this.observer = new IntersectionObserver((entries) => {
      this.fold();
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        this.observer.unobserve(entry.target);
        this.fill(entry.target.querySelector(".thumbs")).catch(() => {});
      }
    });
    for (const button of this.buttons) this.observer.observe(button);
  }

  // Once it is laid out: where the list is as wide as all (a phone), it opens on demand.
  fold() {
    const wide = this.element.offsetWidth;
    if (this.laid || !wide) return;
    this.laid = true;
    this.element.firstChild.open = wide < 0.6 * this.element.parentElement.offsetWidth;
  }

  async fill(element) {
    const step = this.source.description.steps[Number(element.dataset.step)];
    const shape = this.source.description.tensors[step.output].shape;
    const { axes, rows, columns } = planeOf(shape);
    if (!step.held || axes.length < 2) return;
    const channels = axes.join() === "2,3" ? Math.min(THUMBS, shape[1]) : 1;
    const slice = sliceAt(shape, ones(shape));
    if (channels > 1) slice[1] = [0, channels];
    const block = await this.source.block(`t${step.output}`, slice);
    const size = rows * columns;
    for (let i = 0; i < channels; i++) {
      const values = block.data.subarray(i * size, (i + 1) * size);
      element.append(painted(values, rows, columns, largest(values)));
    }
  }

  // Arrow keys move through the list, so that one tab stop is enough for all of it.
  typed(event, go) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const to = this.buttons.indexOf(event.target.closest("button")) + by;
    if (!by || !this.buttons[to]) return;
    event.preventDefault();
    this.buttons[to].focus({ preventScroll: true });
    go(to);
  }

  show(number) {
    this.buttons.forEach((button, i) => {
      button.tabIndex = i === number ? 0 : -1;
      if (i === number) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    });
    const item = this.buttons[number]?.parentElement;
    if (!item) return;
    const { offsetTop, offsetHeight } = item;
    const { scrollTop, clientHeight } = this.list;
    if (offsetTop < scrollTop || offsetTop + offsetHeight > scrollTop + clientHeight) this.list.scrollTop = offsetTop - clientHeight / 3;
  }

  close() {
    this.observer.disconnect();
  }
}
