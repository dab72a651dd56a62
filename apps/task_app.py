"""The common part of add_task, prune and retrain: runs a task's phases."""

from absl import flags

from apps import process, run_flags
from packnet_tf.errors import FlagError
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig


def main(*, again: bool = False) -> None:
    """Runs a task's phases given by `--phases`.

    Args:
        again: Whether phases that are done before are done once more, where
            later phases have been done since (prune and retrain may repeat).
    """
    # Quick checks come first: the flags, then the network, then every image.
    options = run_flags.task_options()
    path = run_flags.workdir_path(writing=True)
    given = run_flags.values(NetworkOptions, given=True)
    NetworkOptions(**given)
    if flags.FLAGS.base_images is not None and not options.reconstruct:
        raise FlagError(
            f"--base_images={flags.FLAGS.base_images} serves --reconstruct, "
            "which is off; leave one of the two out."
        )
    serving = ServingConfig(**run_flags.values(ServingConfig))
    process.load()

    from packnet_tf import console
    from packnet_tf.data import check, open_task
    from packnet_tf.model.freed_memory import keep_freed_memory
    from packnet_tf.storage.workdir import Workdir
    from packnet_tf.workflow import preflight, report
    from packnet_tf.workflow.fit_images import images_at
    from packnet_tf.workflow.run_config import network_options_of
    from packnet_tf.workflow.session import Session

    flag = flags.FLAGS
    workdir = Workdir(path)
    if flag.base_data is not None and workdir.run is None:
        given.setdefault("base_recovery", "data")
    network = network_options_of(workdir, given)
    strategy = run_flags.make_strategy()
    keep_freed_memory()
    session = Session(workdir, network, serving, strategy)
    with console.bar(f"opening {options.task}") as progress:
        data = open_task(
            # The name as given, since `tfds:NAME` says where the data is.
            flag.task,
            flag.data,
            data_dir=flag.data_dir,
            crop=flag.crop,
            image_key=flag.image_key,
            label_key=flag.label_key,
            progress=progress,
        )
    data = preflight.as_begun(workdir, options.task, data, print)
    if data.validation is not None and flag["validation_share"].present:
        raise FlagError(
            f"--validation_share={flag.validation_share}: the data of task "
            f"{data.name!r} has its own validation images, "
            f"{data.validation.origin}; leave the flag out."
        )
    base_data = None
    if flag.base_data is not None and workdir.newest() is None:
        base_data = open_task(
            network.base_task, flag.base_data, data_dir=flag.data_dir
        )
    base_images = None
    if flag.base_images is not None and workdir.newest() is None:
        base_images = images_at(
            flag.base_images,
            network.base_task,
            options.reconstruct_images,
            network.image_size,
            flag.data_dir,
        )
    line = session.check(options, base_data=base_data is not None, again=again)

    def checked(opened):
        with console.bar(opened.name) as progress:
            return check(
                opened,
                options.batch_size,
                skip_corrupt=flag.skip_corrupt,
                say=print,
                progress=progress,
            )

    data = checked(data)
    if base_data is not None:
        base_data = checked(base_data)
    if line:
        print(line, flush=True)
    outcome = session.run(
        data, options, base_data, base_images=base_images, again=again
    )
    print(report.of_run(outcome))
