"""Image folders written as prepared TFDS data sets, without a network."""

import os

import numpy as np
import pytest
from PIL import Image

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("importlib_resources")

BOX = (0.1, 0.25, 0.6, 0.75)


def prepare(
    name,
    folder,
    data_dir,
    boxes=False,
    splits=("train", "test"),
    file_format=None,
    **features,
):
    """Writes an image folder as a TFDS data set, by TFDS's own classes.

    Args:
        name: Class name of the builder.
        folder: The image folder; splits other than test are its train part.
        data_dir: Where TFDS keeps its data sets.
        boxes: Whether every image gets the bounding box `BOX`.
        splits: Names of the splits.
        file_format: TFDS's name of it.
        **features: Additional features; None leaves a usual one out.
    """
    described = {
        "image": tfds.features.Image(),
        "label": tfds.features.ClassLabel(
            names=sorted(os.listdir(folder / "train"))
        ),
        "bbox": tfds.features.BBoxFeature() if boxes else None,
        **features,
    }
    described = {key: value for key, value in described.items() if value}

    def examples(part):
        part = "test" if part == "test" else "train"
        for path in sorted((folder / part).glob("*/*")):
            known = {
                "image": str(path),
                "label": path.parent.name,
                "kind": path.parent.name,
                "bbox": tfds.features.BBox(*BOX),
            }
            if "mirrored" in described:
                known["mirrored"] = np.asarray(Image.open(path))[:, ::-1]
            yield str(path), {k: known.get(k, str(path)) for k in described}

    with tfds.core.registered.skip_registration():
        builder = type(
            name,
            (tfds.core.GeneratorBasedBuilder,),
            {
                "__module__": __name__,
                "VERSION": tfds.core.Version("1.2.0"),
                "_info": lambda self: tfds.core.DatasetInfo(
                    builder=self,
                    features=tfds.features.FeaturesDict(described),
                ),
                "_split_generators": lambda self, _: {
                    part: self._generate_examples(part) for part in splits
                },
                "_generate_examples": lambda self, part: examples(part),
            },
        )
    builder(
        data_dir=str(data_dir), file_format=file_format
    ).download_and_prepare()
