"""What add_task, prune and retrain share: one task, some of its phases."""

from absl import flags

from apps import run_flags


def main(*, again: bool = False) -> None:
    """Takes a task through the phases of `--phases`.

    Args:
        again: Whether phases that are done before are done once more, where
            later phases have been done since (prune and retrain may repeat).
    """
    # Flags are checked before TensorFlow is imported, data before training.
    options = run_flags.task_options()
    path = run_flags.workdir_path(writing=True)

    from packnet_tf import report
    from packnet_tf.data import check, open_task
    from packnet_tf.data.checks import progress_bar
    from packnet_tf.replicas import make_strategy
    from packnet_tf.session import Session, network_options_of
    from packnet_tf.workdir import Workdir

    flag = flags.FLAGS
    workdir = Workdir(path)
    network = network_options_of(workdir, run_flags.given_network_options())
    data = open_task(options.task, flag.data, data_dir=flag.data_dir)
    base_data = None
    if flag.base_data is not None:
        base_data = open_task(
            network.base_task, flag.base_data, data_dir=flag.data_dir
        )
    check(data, options.batch_size, progress=progress_bar(options.task))
    strategy = make_strategy(flag.replicas)
    session = Session(workdir, network, flag.model_name, strategy)
    print(session.forecast(options), flush=True)
    record = session.run(data, options, base_data, again=again)
    print(report.of_run(workdir, record))
