"""Your own kernel trains a network.

Question: what does it take for a convolution of one's own to be as good as the built-in ones?

Three steps: write it, hold it against the formula, train with it. Run:  python tutorials/own_kernel.py
"""

import numpy as np

import minicnn
from minicnn import nn, optim
from minicnn.data import DataLoader, Subset, digits, stratified_split, transforms
from minicnn.ops import conv2d


# 1. Write it. An algorithm has the arguments of `minicnn.ops.conv2d.forward`, with stride, padding and dilation as
# pairs. This one is NumPy alone: for each place (r, s) of the kernel, a shifted view of the image times one matrix.
def shifted_views(x, w, b, *, stride, padding, dilation, groups):
    """y = sum over (r, s) of x shifted by (r, s), times w[:, :, r, s]."""
    n, _, height, width = x.shape
    k, _, kernel_height, kernel_width = w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (padding[0], padding[0]), (padding[1], padding[1])))
    p = (height + 2 * padding[0] - dilation[0] * (kernel_height - 1) - 1) // stride[0] + 1
    q = (width + 2 * padding[1] - dilation[1] * (kernel_width - 1) - 1) // stride[1] + 1
    y = np.zeros((n, k, p, q), x.dtype)
    for r in range(kernel_height):
        for s in range(kernel_width):
            top, left = r * dilation[0], s * dilation[1]
            view = xp[:, :, top : top + p * stride[0] : stride[0], left : left + q * stride[1] : stride[1]]
            y += np.einsum("nchw,kc->nkhw", view, w[:, :, r, s])
    return y if b is None else y + b[:, None, None]


def only_without_groups(problem):
    """An algorithm may say what it cannot do: the rule that is broken, or nothing."""
    return "" if problem.options["groups"] == 1 else "groups must be 1"


minicnn.register_algorithm("conv2d", "shifted views", forward=shifted_views, supports=only_without_groups)

# 2. Hold it against the formula, in float64, and its use in a network against central differences.
rng = np.random.default_rng(0)
x, w, b = rng.standard_normal((2, 3, 7, 6)), rng.standard_normal((4, 3, 3, 2)), rng.standard_normal(4)
options = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
with minicnn.algorithm(conv2d="formula"):
    expected = conv2d.forward(x, w, b, **options)
with minicnn.algorithm(conv2d="shifted views"):
    actual = conv2d.forward(x, w, b, **options)
    report = minicnn.gradcheck(lambda x, w, b: nn.functional.conv2d(x, w, b, **options), [x, w, b])
assert np.abs(actual - expected).max() < 1e-12
print(report)

# 3. Train with it. The backward passes, which this algorithm does not have, are the built-in ones.
to_array = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.3,), (0.38,))])
data = digits(transform=to_array)
few, rest = stratified_split(data.targets, per_class=30, seed=0)
minicnn.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10))
optimizer, loss_function = optim.Adam(model.parameters(), lr=1e-2), nn.CrossEntropyLoss()
with minicnn.algorithm(conv2d="shifted views"):
    for epoch in range(10):
        for images, labels in DataLoader(Subset(data, few), 30, shuffle=True, seed=epoch):
            optimizer.zero_grad()
            loss_function(model(images), labels).backward()
            optimizer.step()
    with minicnn.no_grad():
        right = [
            model(images).argmax(1).numpy() == labels.numpy() for images, labels in DataLoader(Subset(data, rest), 500)
        ]
accuracy = np.concatenate(right).mean()
print(f"300 digits to train on: accuracy {accuracy:.3f} on the other {len(rest):,}")
assert accuracy > 0.9
