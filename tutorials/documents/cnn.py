"""S4: a convolutional network of two convolutions on images of 32 x 32, by stochastic gradient descent.

    python tutorials/documents/cnn.py [IMAGES] [EPOCHS]

On CIFAR-10 where ../shared/data has it, otherwise on digits enlarged to 32 x 32.

What is other than in the printed listing, and why:

- Printed, `forward` calls `F.relu`, and `F` is never imported: a NameError at the first batch. Below it is.
- Printed, the rate is 0.001 without momentum. So slowly nothing is learned in a few epochs: the program measures one
  epoch of it. The rate here is 0.02, with momentum 0.9, which adds up ten steps.
- Printed, accuracy is never measured on other images than those that were learned from.
"""

import sys
from pathlib import Path

import numpy as np

import minicnn
import minicnn.nn.functional as F  # noqa: N812
from minicnn import nn, optim
from minicnn.data import ArrayDataset, DataLoader, HDF5Images, Subset, digits, stratified_split, transforms

IMAGES = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
EPOCHS = int(sys.argv[2]) if len(sys.argv) > 2 else 4
CIFAR = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10_full_jpegbytes.h5"
STEPS = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]


def load():
    """Images to learn from, and others to measure with; decoded once, and kept."""
    if CIFAR.is_file():
        transform = transforms.Compose(STEPS)
        parts = [HDF5Images(CIFAR, part, transform) for part in ("train", "test")]
        cuts = [
            stratified_split(part.targets, per_class=n // 10, seed=0)[0]
            for part, n in zip(parts, (IMAGES, 500), strict=True)
        ]
        return [kept(Subset(part, cut)) for part, cut in zip(parts, cuts, strict=True)]
    source = digits(transforms.Compose([transforms.Grayscale(3), transforms.Resize((32, 32)), *STEPS]))
    train, test = stratified_split(source.targets, 0.5, seed=0)
    return [kept(Subset(source, train)), kept(Subset(source, test))]


def kept(dataset):
    """The same images, decoded once."""
    samples = [dataset[i] for i in range(len(dataset))]
    return ArrayDataset(np.stack([x for x, _ in samples]), [y for _, y in samples], dataset.classes)


class CNN(nn.Module):
    """As printed, with its import."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 8 * 8, 512)
        self.fc2 = nn.Linear(512, 10)

    def forward(self, x):
        """Images (N, 3, 32, 32) to scores (N, 10)."""
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = x.flatten(1)
        x = F.relu(self.fc1(x))
        return self.fc2(x)


def train(epochs, lr, momentum):
    """The mean loss of each epoch, and the network."""
    minicnn.manual_seed(0)
    model, criterion = CNN(), nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    loader, losses = DataLoader(train_set, batch_size=32, shuffle=True, seed=0), []
    for _ in range(epochs):
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        losses.append(total / len(train_set))
    return losses, model


def draw_kernels(model, path):
    """The 32 kernels of the first convolution, as colours."""
    from PIL import Image

    kernels = model.conv1.weight.detach().numpy().transpose(0, 2, 3, 1)
    kernels = (kernels - kernels.min()) / (kernels.max() - kernels.min())
    framed = np.pad(kernels, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=1).reshape(4, 8, 4, 4, 3)
    sheet = (framed.transpose(0, 2, 1, 3, 4).reshape(16, 32, 3) * 255).astype(np.uint8)
    Image.fromarray(sheet).resize((512, 256), Image.Resampling.NEAREST).save(path)


train_set, test_set = load()
printed, _ = train(1, lr=1e-3, momentum=0.0)
print(f"as printed, rate 0.001: mean loss {printed[0]:.3f}; always guessing has {np.log(10):.3f}")
losses, model = train(EPOCHS, lr=0.02, momentum=0.9)
for epoch, loss in enumerate(losses, 1):
    print(f"epoch {epoch}: mean loss {loss:.3f}")
with minicnn.no_grad():
    right = [model(x).argmax(1).numpy() == y.numpy() for x, y in DataLoader(test_set, batch_size=128)]
accuracy = np.concatenate(right).mean()
name = "CIFAR-10" if CIFAR.is_file() else "digits"
print(f"accuracy {accuracy:.1%} on {len(test_set):,} images of {name}, {EPOCHS} epochs on {len(train_set):,}")
draw_kernels(model, "cnn.png")
assert printed[0] > 2.2
assert losses[-1] < losses[0]
assert accuracy > (0.25 if CIFAR.is_file() else 0.9)
