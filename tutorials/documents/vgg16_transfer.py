"""S2: a pretrained VGG-16 whose classifier is replaced.

    python tutorials/documents/vgg16_transfer.py [WIDTH]     # 64 is the paper's: 138 million numbers, and minutes

The network is an eighth as wide, and its weights are made here: it learns the digits 0 to 4 from new initial values,
with batch normalisation, without which sixteen layers do not begin to learn from so few images. Then it gets a new
classifier, and learns the digits 5 to 9 from sixty images of each.

What is other than in the printed listing, and why:

- Printed, the new classifier's size comes from `model.classifier[0].in_channels`. A linear layer has `in_features`;
  channels are a convolution's. The listing stops there with an AttributeError.
- Printed, nothing is normalised. Weights expect images as they were trained on, with mean and standard deviation; the
  program measures at the end what leaving that out costs.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn import models, nn, optim, weights
from minicnn.data import ArrayDataset, DataLoader, Subset, digits, stratified_split, transforms

WIDTH = int(sys.argv[1]) if len(sys.argv) > 1 else 8
MEAN, STD = (0.306,) * 3, (0.357,) * 3  # of the digits, enlarged


def pictures(first, last, normalise=True):
    """The digits first .. last as colour images of 32 x 32, all in memory."""
    steps = [transforms.Grayscale(3), transforms.Resize((32, 32)), transforms.ToTensor()]
    transform = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)] if normalise else steps)
    source = digits(transform)
    chosen = [i for i, target in enumerate(source.targets) if first <= target <= last]
    images = np.stack([source[i][0] for i in chosen])
    return ArrayDataset(images, source.targets[chosen] - first, source.classes[first : last + 1])


def learn(model, dataset, epochs, lr):
    """Adam on all parameters; the mean loss of each epoch is printed."""
    optimizer, criterion = optim.Adam(model.parameters(), lr=lr), nn.CrossEntropyLoss()
    loader = DataLoader(dataset, batch_size=32, shuffle=True, seed=0)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        print(f"epoch {epoch + 1}: mean loss {total / len(dataset):.4f}")


def accuracy(model, dataset):
    """Share of images that are classified right."""
    model.eval()
    with minicnn.no_grad():
        right = [model(x).argmax(1).numpy() == y.numpy() for x, y in DataLoader(dataset, batch_size=128)]
    return float(np.concatenate(right).mean())


def draw(names, values, path):
    """Bars."""
    figure = Figure(figsize=(5, 2), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, values, color="0.4")
    axes.set(xlim=(0, 1), xlabel="accuracy")
    figure.savefig(path, dpi=110)


# The weights, into a file as weights come.
minicnn.manual_seed(0)
old = models.vgg16_bn(num_classes=5, width=WIDTH)
source = pictures(0, 4)
few, _ = stratified_split(source.targets, per_class=60, seed=0)
learn(old, Subset(source, few), epochs=4, lr=2e-3)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "vgg16-digits.h5"
    info = weights.WeightsInfo(
        "vgg16_bn", {"num_classes": 5, "width": WIDTH}, list("01234"), 32, MEAN, STD, trained_on="digits 0 to 4"
    )
    weights.save(path, old.state_dict(), info)
    model = models.vgg16_bn(weights=path)

# The listing: the classifier is replaced, and all of it learns.
hidden = 64 * WIDTH  # 4096 in the paper
model.classifier = nn.Sequential(
    nn.Linear(model.classifier[0].in_features, hidden),
    nn.ReLU(),
    nn.Dropout(0.5),
    nn.Linear(hidden, hidden),
    nn.ReLU(),
    nn.Dropout(0.5),
    nn.Linear(hidden, 5),
)
target = pictures(5, 9)
train, test = stratified_split(target.targets, per_class=60, seed=0)
learn(model, Subset(target, train), epochs=5, lr=1e-3)
found = accuracy(model, Subset(target, test[::3]))
without = accuracy(model, Subset(pictures(5, 9, normalise=False), test[::3]))
print(f"images that are not normalised, as printed: accuracy {without:.1%}")
print(f"accuracy {found:.1%} on {len(test[::3])} digits that were not learned from, 60 of each of five new classes")
draw(["as the weights expect", "not normalised"], [found, without], "vgg16_transfer.png")
assert found > 0.75
assert without < found
