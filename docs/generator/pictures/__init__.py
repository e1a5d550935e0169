"""A picture of each operation, drawn in SVG: `picture("conv2d")`."""

from generator.pictures import curves, flows, products, windows

DRAWN = {
    name: getattr(module, name)
    for module, names in {
        windows: ("conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"),
        products: ("matmul", "linear", "elementwise", "reduce", "shape", "dropout", "batch_norm"),
        curves: ("relu", "mse", "cross_entropy", "softmax", "updates"),
        flows: ("rnn", "lstm", "gru", "batch_norm_relu"),
    }.items()
    for name in names
}


def picture(name: str) -> str:
    """The picture of an operation, as HTML in one line."""
    made: str = DRAWN[name]().svg()
    return made
