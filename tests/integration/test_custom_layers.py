"""docs/custom_layers.md is true."""

import pathlib
import re

import keras
import numpy as np

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/custom_layers.md"


def test_the_example_runs_and_keeps_its_promise(capsys, tmp_path):
    (block,) = re.findall(
        r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S
    )
    names = {"__name__": "custom_layers"}
    exec(compile(block, DOCUMENT.name, "exec"), names)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [flag for _, flag in printed] == ["False", "True", "True", "True"]

    net = names["net"]
    x = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
    for task in ("one", "two"):
        net.add_task(task, 3)
        net.compile("adamw", "sparse_categorical_crossentropy")
        net.fit(x, np.arange(6) % 3, epochs=2, verbose=0)
        if task == "one":
            net.prune(0.5)
        net.pack()
        net.activate("one")
        scores = net.predict(x, verbose=0)
        if task == "one":
            before = scores
        assert scores.tobytes() == before.tobytes()
    owners = [np.unique(kernel.mask) for kernel in net.masked_kernels()]
    assert [list(found) for found in owners] == [[1], [1, 2], [1, 2], [1, 2]]
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    loaded.activate("one")
    assert loaded.predict(x, verbose=0).tobytes() == before.tobytes()
