"""All data sets under the name people know: `datasets.ImageFolder`, `datasets.digits`."""

from minicnn.data.arrays import ArrayDataset, Dataset, Subset
from minicnn.data.builtin import digits, fashion_mnist
from minicnn.data.concat import Concat
from minicnn.data.csv_images import CSVImages
from minicnn.data.hdf5_images import HDF5Images
from minicnn.data.image_folder import ImageFolder

__all__ = [
    "ArrayDataset",
    "CSVImages",
    "Concat",
    "Dataset",
    "HDF5Images",
    "ImageFolder",
    "Subset",
    "digits",
    "fashion_mnist",
]
