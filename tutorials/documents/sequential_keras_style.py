"""S3: a small convolutional network in the style of compile, fit, predict.

    python tutorials/documents/sequential_keras_style.py [IMAGES]

On Fashion-MNIST where it is installed (Debian: dataset-fashion-mnist), otherwise on digits enlarged to 28 x 28.

What is other than in the printed listing, and why:

- Printed, images come from `load_data(..., scale, transform, ...)`. No such function has these arguments: scaling is a
  division, and it stands here as one.
- Printed, labels are made one-hot and then given to `sparse_categorical_crossentropy`, which wants numbers. Where that
  does not fail by shape it trains on nonsense. Here it is an error, which the program shows.
- Printed, rows are taken out with `data.drop`, which tables have and arrays do not. Arrays are cut by indices.
- Images are (N, C, H, W): channels first, as in all of minicnn.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import minicnn
from minicnn.data import builtin, digits, fashion_mnist, stratified_split
from minicnn.errors import MinicnnError
from minicnn.training.compiled import Conv2D, Dense, Flatten, MaxPooling2D, Sequential
from minicnn.training.pictures import curves

IMAGES = int(sys.argv[1]) if len(sys.argv) > 1 else 3000


def load():
    """x_train, y_train, x_test, y_test: floats in 0 .. 1, (N, 1, 28, 28), and labels."""
    if builtin.DEBIAN_FOLDER.is_dir():
        train, test = fashion_mnist(train=True), fashion_mnist(train=False)
        return (
            train.images[:IMAGES, None] / 255,
            train.labels[:IMAGES],
            test.images[:1000, None] / 255,
            test.labels[:1000],
        )
    source = digits()
    large = np.stack([Image.fromarray(image).resize((28, 28), Image.Resampling.BILINEAR) for image in source.images])
    first, rest = stratified_split(source.targets, 0.7, seed=0)
    return large[first, None] / 255, source.labels[first], large[rest, None] / 255, source.labels[rest]


x_train, y_train, x_test, y_test = load()
minicnn.manual_seed(0)
model = Sequential(
    [
        Conv2D(32, (3, 3), activation="relu", input_shape=(1, 28, 28)),
        MaxPooling2D((2, 2)),
        Flatten(),
        Dense(64, activation="relu"),
        Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
print(model.summary())

one_hot = np.eye(10)[y_train]
try:
    model.fit(x_train, one_hot)  # as printed
except MinicnnError as error:
    print(f"one-hot labels: {error}")
else:
    raise AssertionError("one-hot labels went through")

history = model.fit(x_train, y_train, epochs=3, batch_size=32, validation_data=(x_test, y_test), verbose=False)
print(history)
loss, accuracy = model.evaluate(x_test, y_test)
probabilities = model.predict(x_test[:5])
print("predicted", probabilities.argmax(axis=1), "true", y_test[:5])
print(f"accuracy {accuracy:.1%}, loss {loss:.3f} on {len(x_test):,} images, 3 epochs on {len(x_train):,}")
Path("sequential_keras_style.png").write_bytes(curves({"network": history}, "S3, three epochs"))
assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
assert accuracy > 0.72
assert history[-1].train_loss < history[0].train_loss
