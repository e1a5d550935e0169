"""S1: a pretrained ResNet-18 gets a new head and learns other classes.

    python tutorials/documents/resnet18_transfer.py [EPOCHS]

On photographs of ants and bees, where these and weights for photographs are on this machine; otherwise on digits that
are written as image files, from weights for small grey pictures.

What is other than in the printed listing, and why:

- Printed, each epoch ends with the last batch's loss. A mean over all images is printed here, and the accuracy on
  images that the network has not learned from: the training loss alone cannot tell learning from memorising.
- Mean and standard deviation of `Normalize` are those of the weights' own training (they stand in the weights file):
  ImageNet's are right only for weights from ImageNet. So is the size: 32 x 32 or 64 x 64 here, not 224.
- `model.train()` and `model.eval()` are called: batch norm does something else in each.
- The seed is set. The printed listing gives another result each time.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import minicnn
from minicnn import data, models, nn, optim, weights
from minicnn.data import digits, stratified_split, transforms

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
PHOTOGRAPHS = Path(__file__).resolve().parents[3] / "shared" / "data" / "hymenoptera_160"


def write_digits(folder, per_class=20):
    """Digits as PNG files, in one sub-folder a class: folder/train/7/0.png."""
    source = digits()
    first, rest = stratified_split(source.targets, per_class=per_class, seed=0)
    for part, chosen in (("train", first), ("val", rest[:400])):
        for i in chosen:
            path = folder / part / source.classes[source.targets[i]] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.images[i]).save(path)
    return folder


def accuracy(model, loader):
    """Share of images that are classified right."""
    model.eval()
    right = total = 0
    with minicnn.no_grad():
        for images, labels in loader:
            right += int((model(images).argmax(1).numpy() == labels.numpy()).sum())
            total += len(labels)
    return right / total


with tempfile.TemporaryDirectory() as temporary:
    names = [name for name in weights.available() if "tinyimagenet" in name]
    is_real = PHOTOGRAPHS.is_dir() and bool(names)
    name = names[0] if is_real else "resnet18-fashion-mnist-32"
    root = PHOTOGRAPHS if is_real else write_digits(Path(temporary))
    minicnn.manual_seed(0)
    model = models.resnet18(weights=name)
    model.fc = nn.Linear(model.fc.in_features, len(list((root / "train").iterdir())))

    info = model.weights_info
    size = (info.input_size, info.input_size)
    transform = transforms.Compose(
        [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize(info.mean, info.std)]
    )
    train = data.ImageFolder(root / "train", transform)
    test = data.ImageFolder(root / "val", transform)
    loader = data.DataLoader(train, batch_size=32, shuffle=True, seed=0, num_workers=2)
    test_loader = data.DataLoader(test, batch_size=128, num_workers=2)

    criterion = nn.CrossEntropyLoss()
    # The weights know photographs already, and few images must not teach them too fast; they have seen no digits.
    optimizer = optim.Adam(model.parameters(), lr=1e-4 if is_real else 1e-3)
    before = accuracy(model, test_loader)
    losses, accuracies = [], [before]
    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        losses.append(total / len(train))
        accuracies.append(accuracy(model, test_loader))
        print(f"epoch {epoch + 1}: mean loss {losses[-1]:.3f}, accuracy {accuracies[-1]:.1%}")

    after = accuracies[-1]
    share = np.bincount(test.targets).max() / len(test)  # right, if the same class is always said
    print(f"{name} on {'ants and bees' if is_real else 'digits'}: before {before:.1%}, always one class {share:.1%}")
    print(f"accuracy {after:.1%} on {len(test)} images that were not learned from, {EPOCHS} epochs on {len(train)}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    left.plot(range(1, EPOCHS + 1), losses, "ko-")
    left.set(xlabel="epoch", ylabel="mean loss", ylim=0)
    right.plot(range(EPOCHS + 1), accuracies, "ko-")
    right.axhline(share, color="0.6", linestyle=":", label="always one class")
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    right.legend(frameon=False)
    figure.savefig("resnet18_transfer.png", dpi=110)
    assert losses[-1] < losses[0]
    assert after > (0.7 if is_real else 0.9)
