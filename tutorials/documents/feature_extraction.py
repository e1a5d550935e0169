"""S7: a pretrained network as it is, and a new classifier on what it sees in the images.

    python tutorials/documents/feature_extraction.py

The network below its head runs once over all images; the features go into an HDF5 file, and from there any number of
classifiers learn in seconds: a linear head, and one of scikit-learn.

What is other than in the document, and why:

- The document describes the method without a listing. Often it is written with the network run again in every epoch,
  and left in training mode, where batch norm makes the features of an image depend on its neighbours. A frozen network
  stays in evaluation mode here, and so its features can be computed once.
- The pixels themselves are tried too: without that number one cannot tell what the pretrained features are worth. On
  digits the answer is a warning. This network has seen clothes only, and the pixels do better than its features: they
  are worth what the old images have in common with the new ones. (Fine-tuned, the same network passes the pixels.)
"""

import time
from pathlib import Path

import h5py
import numpy as np
from sklearn.linear_model import LogisticRegression

import minicnn
from minicnn import models, nn, optim
from minicnn.data import ArrayDataset, DataLoader, digits, stratified_split
from minicnn.training import Trainer
from minicnn.training.pictures import curves

CACHE = Path("features.h5")
start = time.perf_counter()


def features_into(path):
    """Run the frozen network once; write features and labels."""
    network = models.resnet18(weights="resnet18-fashion-mnist-32").freeze()
    images = digits(network.weights_info.transforms(grey=True))
    rows, labels = [], []
    with minicnn.no_grad():
        for x, y in DataLoader(images, batch_size=128, num_workers=2):
            rows.append(network.features(x).numpy())
            labels.append(y.numpy())
    with h5py.File(path, "w") as file:
        file["features"], file["labels"] = np.concatenate(rows), np.concatenate(labels)


if not CACHE.exists():
    features_into(CACHE)
with h5py.File(CACHE) as file:
    features, labels = file["features"][:], file["labels"][:]
computed = time.perf_counter() - start
train, test = stratified_split(labels, per_class=20, seed=0)
print(f"{features.shape[1]} features of {len(features):,} images, {CACHE.stat().st_size / 1e6:.1f} MB")

# A linear head of minicnn, 30 epochs.
minicnn.manual_seed(0)
head = nn.Linear(features.shape[1], 10)
classes = [str(i) for i in range(10)]
loaders = [
    DataLoader(ArrayDataset(features[part], labels[part], classes), batch_size=32, shuffle=True, seed=0)
    for part in (train, test)
]
start = time.perf_counter()
trainer = Trainer(head, optim.Adam(head.parameters(), lr=3e-2), nn.CrossEntropyLoss(), progress=False)
history = trainer.fit(*loaders, epochs=30)
linear = trainer.evaluate(loaders[1]).metrics.accuracy
seconds = time.perf_counter() - start

# A classifier of scikit-learn, on the features and on the pixels.
logistic = LogisticRegression(max_iter=2000).fit(features[train], labels[train]).score(features[test], labels[test])
pixels = digits().images.reshape(len(labels), -1) / 255
on_pixels = LogisticRegression(max_iter=2000).fit(pixels[train], labels[train]).score(pixels[test], labels[test])
print(f"features: {computed:.1f} s; the head: {seconds:.1f} s")
print(f"accuracy of a linear head {linear:.1%}, of scikit-learn's {logistic:.1%}, on the pixels {on_pixels:.1%}")
Path("feature_extraction.png").write_bytes(curves({"linear head": history}, "A linear head on cached features"))
assert 0.75 < linear < on_pixels
assert 0.75 < logistic < on_pixels
