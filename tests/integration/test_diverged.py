"""A task whose training diverged is finished by a lower learning rate."""

import re

from support.tiny_runs import TINY

from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.verify import verify


def test_the_same_command_with_a_lower_rate_goes_on(run_app, images, tmp_path):
    workdir = tmp_path / "w"

    def add(task, *flags):
        return run_app(
            "add_task",
            f"--workdir={workdir}",
            f"--task={task}",
            f"--data={images / task}",
            *TINY,
            *flags,
        )

    assert add("first").code == 0
    ended = add("second", "--learning_rate=1e30", "--warmup_share=0")
    assert ended.code == 1
    (line,) = [x for x in ended.stderr.splitlines() if "error: " in x]
    assert re.search(
        # The loss of the last step is that before its update.
        r"(became (nan|inf) in step \d+ of|NaN or infinity after) epoch 1 of "
        r"the train phase, at "
        r"learning rate .*with a lower --learning_rate",
        line,
    )
    assert [s.name for s in Workdir(workdir).states()] == ["first"]
    ended = add("second", "--learning_rate=1e-3", "--warmup_share=0")
    assert ended.code == 0, ended.stderr
    assert [s.name for s in Workdir(workdir).states()] == ["first", "second"]
    report = verify(Workdir(workdir))
    assert report.ok, str(report)
