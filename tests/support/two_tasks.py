"""Two tasks packed into any network, and all that must hold of them then."""

import keras
import numpy as np
import tensorflow as tf

import packnet_tf as pn


def labels(count, classes=3, seed=1):
    """Returns whole numbers below `classes`, one for each example."""
    return np.random.default_rng(seed).integers(0, classes, count)


def pack(
    net, name, x, y, classes=3, loss=None, metrics=None, retrain=True, **task
):
    """Adds a task, trains it for one step a phase, prunes it and packs it."""
    net.add_task(name, classes, **task)
    net.compile(
        keras.optimizers.Adam(0.01),
        loss or "sparse_categorical_crossentropy",
        metrics=metrics,
    )
    train(net, x, y)
    net.prune(0.5)
    if retrain:
        train(net, x, y)
    net.pack()


def train(net, x, y):
    history = net.fit(x, y, batch_size=32, shuffle=False, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))


def scores(net, name, x):
    """Returns the bytes of a task's scores."""
    net.activate(name)
    return net.predict(x, verbose=0).tobytes()


def pack_two(backbone, x, classes=3, retrain=True, **options):
    """Packs two tasks; the first answers with the same bytes after that.

    Args:
        backbone: Any network.
        x: A batch for it.
        classes: Of each task.
        retrain: Whether each task has a retrain phase.
        **options: Those of `PackNet`.

    Returns:
        The network, and the bytes of each task's scores when it was packed.
    """
    rows = len(keras.tree.flatten(x)[0])
    net = pn.PackNet(backbone, **options)
    packed = {}
    for number, name in enumerate(("one", "two")):
        y = labels(rows, classes, number)
        pack(net, name, x, y, classes, retrain=retrain)
        packed[name] = scores(net, name, x)
    assert packed["one"] != packed["two"]
    assert scores(net, "one", x) == packed["one"]
    owners = np.unique(
        np.concatenate([np.asarray(k.mask).ravel() for k in kernels(net)])
    )
    assert owners.tolist() == [0, 1, 2]
    return net, packed


def kernels(net):
    found = net.masked_kernels()
    assert found
    return found


def check_files(net, packed, x, folder, extract=True):
    """Saves and loads the network, and extracts each task from it.

    Returns:
        The loaded network.
    """
    net.save(folder / "net.keras")
    loaded = keras.saving.load_model(folder / "net.keras")
    assert [t.to_dict() for t in loaded.tasks] == [
        t.to_dict() for t in net.tasks
    ]
    loaded.verify_digests()
    for name, expected in packed.items():
        assert scores(loaded, name, x) == expected, name
        if extract:
            plain = pn.extract(loaded, name)
            assert plain.predict(x, verbose=0).tobytes() == expected, name
    return loaded


def check_served(net, x, folder, names=None):
    """Exports a network and compares each task's logits.

    Args:
        net: A packed network.
        x: A batch as the backbone takes it.
        folder: Where the SavedModel goes.
        names: The signature's names of the inputs, in order; the keys of `x`
            if that is a dict.

    Returns:
        The loaded SavedModel.
    """
    model = tf.saved_model.load(pn.export_saved_model(net, folder))
    names = sorted(x) if isinstance(x, dict) else names
    given = dict(zip(names, keras.tree.flatten(x), strict=True))
    for task in net.tasks:
        signature = model.signatures[task.name]
        # The sizes that are open there: another program has other roundings.
        _, specs = signature.structured_input_signature
        assert set(specs) == set(given)
        spec = tf.nest.pack_sequence_as(x, [specs[name] for name in names])
        net.activate(task.name)
        program = tf.function(
            lambda x: net.logits(x, training=False), autograph=False
        ).get_concrete_function(spec)
        expected = program(tf.nest.map_structure(tf.constant, x)).numpy()
        found = signature(
            **{name: tf.constant(value) for name, value in given.items()}
        )["logits"].numpy()
        assert found.tobytes() == expected.tobytes(), task.name
    return model
