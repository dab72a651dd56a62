"""Brings what belongs to a workdir's states in line with those that exist.

Undoing ends with it and adding a task begins with it, so that the next command
finishes an interrupted change.
"""

from packnet_tf import atomic_files
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving import versions
from packnet_tf.storage import retention
from packnet_tf.storage.renames import write_names
from packnet_tf.storage.workdir import Workdir


def follow(workdir: Workdir, serving: ServingConfig | None = None) -> list[str]:
    """Updates new names, SavedModels and what else depends on the states.

    Args:
        workdir: The workdir; hold its lock.
        serving: The served model to make if it is missing, and the layout for
            its missing versions; None repairs only those that exist.

    Returns:
        One line for each thing done.

    Raises:
        StateError: If a state is damaged, or the workdir cannot be written.
    """
    done = retention.finish(workdir)
    states = workdir.states()
    if not states and workdir.origin_path.exists():
        # It holds the kernels of the first task before pruning.
        atomic_files.remove_file(workdir.origin_path)
        done.append(f"removed {workdir.origin_path}")
    digests = {task.digest for state in states for task in state.tasks}
    names = workdir.names
    kept = {digest: name for digest, name in names.items() if digest in digests}
    if kept != names:
        # A task trained again to the same bytes would have the new name.
        write_names(workdir.names_path, kept)
    if serving is not None:
        done += versions.recover(workdir, serving)
    return done + versions.recover_all(workdir)
