"""Floor 5: networks, each near to how its paper writes it. Names, shapes and results equal torchvision's.

One way to change the head, the channels and the size of the images, for all of them::

    model = models.resnet18(weights="resnet18.h5", num_classes=5, in_channels=1, input_size=160)
    print(model.load_report)                        # what was loaded, replaced and adapted
    transform = model.weights_info.transforms()     # images as this network takes them

- `num_classes`: a head of another size than the file's stays new ("replaced").
- `in_channels`: the first convolution's kernels are summed for grey images, and repeated and scaled for other numbers
  of channels ("adapted"). A file that is saved with `model.weights_info` says so.
- `input_size`: the networks end in an adaptive pooling and take images of any size from a least one on, which an error
  names. `weights_info` follows; its `resize` keeps its proportion.
"""

from collections.abc import Callable

from minicnn.models.alexnet import AlexNet, alexnet
from minicnn.models.cnn import CNN, cnn
from minicnn.models.importing import import_weights
from minicnn.models.inception import Inception3, InceptionOutputs, inception_v3
from minicnn.models.pretrained import check_arguments
from minicnn.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50
from minicnn.models.vae import VAE, ConvVAE, conv_vae, vae
from minicnn.models.vgg import VGG, vgg11, vgg11_bn, vgg16, vgg16_bn
from minicnn.nn import Module

MODELS: dict[str, Callable[..., Module]] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "vgg11": vgg11,
    "vgg11_bn": vgg11_bn,
    "vgg16": vgg16,
    "vgg16_bn": vgg16_bn,
    "alexnet": alexnet,
    "inception_v3": inception_v3,
    "cnn": cnn,
    "vae": vae,
    "conv_vae": conv_vae,
}

__all__ = [
    "CNN",
    "MODELS",
    "VAE",
    "VGG",
    "AlexNet",
    "BasicBlock",
    "Bottleneck",
    "ConvVAE",
    "Inception3",
    "InceptionOutputs",
    "ResNet",
    "alexnet",
    "check_arguments",
    "cnn",
    "conv_vae",
    "import_weights",
    "inception_v3",
    "resnet18",
    "resnet34",
    "resnet50",
    "vae",
    "vgg11",
    "vgg11_bn",
    "vgg16",
    "vgg16_bn",
]
