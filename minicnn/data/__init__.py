"""Images and batches: data sets, transforms, splits and the loader.

::

    from minicnn import data
    from minicnn.data import transforms

    transform = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor()])
    dataset = data.ImageFolder("photos/train", transform)       # one sub-folder a class
    loader = data.DataLoader(dataset, batch_size=32, shuffle=True, seed=0, num_workers=2)
    for images, labels in loader:                               # Tensors (N, C, H, W) float32 and (N,) int64
        ...

| file | what is in it |
|---|---|
| `image_folder.py` | `ImageFolder`: photographs on disk, one sub-folder a class |
| `csv_images.py` | `CSVImages`: image files that a table lists (`csv_table.py`) |
| `image_files.py` | what these two share |
| `opening.py` | `part_names`, `open_part`: any of these from a path, as the command line does |
| `bad_images.py` | finding the files that cannot be read, on threads |
| `inspection.py`, `duplicates.py`, `contact_sheet.py` | what `minicnn data check` and `minicnn data show` do |
| `concat.py` | `Concat`: several sources as one, with common classes |
| `hdf5_images.py` | `HDF5Images`: many images in one HDF5 file; `hdf5_{arrays,values,texts}.py` open it safely |
| `hdf5_writer.py` | `write_image_set` writes such files |
| `arrays.py` | `ArrayDataset`: images in memory; `Subset`: some images of any data set |
| `shrunk.py` | `Shrunk`: photographs decoded once, kept no larger than a training needs |
| `builtin.py` | `digits()`, `fashion_mnist()`: real images without a folder of one's own |
| `splits.py` | `stratified_split`, `stratified_parts`, `stratified_folds`: every class in each part; `plain_folds` |
| `transforms/` | from an image to an array, under torchvision's names; `MixUp`, `CutMix` for batches |
| `loader.py` | `DataLoader`: batches, shuffled and augmented by (seed, epoch, sample), on threads or processes |
| `batch_reader.py` | one batch, whoever reads it |
| `processes.py` | worker processes; `worker.py`: what each does; `slots.py`: memory that they share with the loader |
| `randomness.py` | where random transforms get their numbers from |
| `images.py` | reading one image file that may be broken or hostile |

Pillow, scikit-learn and pooch are imported when something needs them, not before.
"""

from minicnn.data import datasets, transforms
from minicnn.data.arrays import ArrayDataset, Dataset, Subset
from minicnn.data.builtin import digits, fashion_mnist
from minicnn.data.concat import Concat
from minicnn.data.csv_images import CSVImages
from minicnn.data.hdf5_images import HDF5Images
from minicnn.data.hdf5_writer import write_image_set
from minicnn.data.image_folder import ImageFolder
from minicnn.data.images import decode_image, read_image
from minicnn.data.loader import DataLoader
from minicnn.data.opening import open_part, part_names
from minicnn.data.randomness import drawing_from, sample_generator
from minicnn.data.shrunk import Shrunk
from minicnn.data.splits import plain_folds, stratified_folds, stratified_parts, stratified_split

__all__ = [
    "ArrayDataset",
    "CSVImages",
    "Concat",
    "DataLoader",
    "Dataset",
    "HDF5Images",
    "ImageFolder",
    "Shrunk",
    "Subset",
    "datasets",
    "decode_image",
    "digits",
    "drawing_from",
    "fashion_mnist",
    "open_part",
    "part_names",
    "plain_folds",
    "read_image",
    "sample_generator",
    "stratified_folds",
    "stratified_parts",
    "stratified_split",
    "transforms",
    "write_image_set",
]
