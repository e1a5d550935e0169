// What an explanation needs of one step: arrays by the names of the formula, and ways to choose others.

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
  // A letter of the formula with its index, and as a word: x, y, and the gradients dx, dy.
  sign = (name, ...index) => (name.startsWith("d") ? mgrad(name.slice(1), ...index) : msub(name, ...index));
  text = (name) => (name.startsWith("d") ? `∂L/∂${name.slice(1)}` : name);
  explanation = (name, at) => this.source.explanation(`e${this.number}:${name}`, at);
  choose = (at) => this.widget.choose(at);
  set = (...change) => this.widget.set(...change);
  className = (j) => {
    const { classes, output } = this.source.description;
    const scores = this.step.output === output || this.step.inputs.x === output;
    return scores && j < classes.length ? `${j} ${classes[j]}` : null;
  };
}
