"""Checks that packed states and SavedModels are as they were written."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

from packnet_tf import atomic_files
from packnet_tf.errors import PackNetError, StateError
from packnet_tf.serving import models_config, versions
from packnet_tf.storage import checksums, golden, retention
from packnet_tf.storage.states import load_outside
from packnet_tf.storage.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: What was checked: a file, or a task of a state.
        ok: Whether it is as it was.
        text: What was found; if not ok, it names the file or task.
    """

    subject: str
    ok: bool
    text: str

    def __str__(self) -> str:
        sign = "ok    " if self.ok else "FAILED"
        return f"{sign} {self.subject}: {self.text}"


@dataclasses.dataclass(frozen=True)
class Report:
    """All findings of one `verify`.

    Attributes:
        findings: In the order of the states.
    """

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(finding.ok for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in self.findings)


def verify(workdir: Workdir) -> Report:
    """Checks every packed state and SavedModel of a workdir.

    It checks that no state is missing; the digests of all files and, recomputed
    from the weights, of all tasks; masks against weights; heads against tasks;
    and it replays the probe on every task's view and on the SavedModel. The
    probe's logits must have the same bytes if the facts of the machine match
    the manifest's; otherwise the largest difference is reported, which is not
    a failure. No lock is needed: files that a writer removes meanwhile are
    skipped.

    Args:
        workdir: The workdir.

    Returns:
        The report; problems are findings in it, not exceptions.

    Example:

    >>> report = verify(Workdir("runs/m"))
    >>> print(report)
    >>> report.ok
    True
    """
    findings: list[Finding] = []
    findings += _still_there(workdir.run_path, _check_run(workdir))
    for folder in workdir.state_folders():
        findings += _still_there(folder, _check_state(workdir, folder))
    findings += _check_numbers(workdir)
    if workdir.serving_path.is_dir():
        for model in sorted(workdir.serving_path.iterdir()):
            problem = models_config.config_problem(model)
            if problem is not None:
                found = [Finding(str(model), False, problem)]
                findings += _still_there(model, found)
        for folder in sorted(workdir.serving_path.glob("*/*")):
            if atomic_files.is_leftover(folder):
                continue  # The next writer removes it.
            if checksums.is_sealed(folder) or folder.name.isdigit():
                found = _check_saved_model(workdir, folder)
                findings += _still_there(folder, found)
    return Report(tuple(findings))


def _still_there(path: pathlib.Path, found: list[Finding]) -> list[Finding]:
    return found if path.exists() else []


@contextlib.contextmanager
def _problems_of(subject: str, findings: list[Finding]) -> Iterator[None]:
    """Turns what a check raises into a finding."""
    try:
        yield
    except PackNetError as error:
        findings.append(Finding(subject, False, str(error)))
    except OSError as error:
        problem = checksums.unreadable(error.filename or subject, error)
        findings.append(Finding(subject, False, str(problem)))


def _check_run(workdir: Workdir) -> list[Finding]:
    subject = str(workdir.run_path)
    findings: list[Finding] = []
    with _problems_of(subject, findings):
        if workdir.run is not None:
            findings.append(Finding(subject, True, "facts of the network"))
    return findings


def _check_numbers(workdir: Workdir) -> list[Finding]:
    """Finds states that are missing before the newest."""
    there = [workdir.number_of(path) for path in workdir.state_folders()]
    # Networks that were packed elsewhere may come with several tasks.
    first = 1 if workdir.run_path.exists() else min(there, default=1)
    missing = {*range(first, max(there, default=0))} - {*there}
    try:
        missing -= retention.dropped(workdir)
    except StateError as error:
        return [Finding(str(workdir.dropped_path), False, str(error))]
    return [
        Finding(
            str(workdir.states_path),
            False,
            f"{workdir.states_path} has no state {number:03d}; restore it from "
            "a copy, or nothing can be undone past it. Later states are whole "
            "without it",
        )
        for number in sorted(missing)
    ]


def _check_state(workdir: Workdir, folder: pathlib.Path) -> list[Finding]:
    subject = str(folder)
    findings: list[Finding] = []
    with _problems_of(subject, findings):
        state = workdir.read_state(folder)
        problems = checksums.check_digests(folder, state.manifest.files)
        known = {*state.manifest.files, "manifest.json", "manifest.sha256"}
        problems += [
            f"{path} does not belong to a packed state"
            for path in sorted(folder.iterdir())
            if path.name not in known
        ]
        if problems:
            return [Finding(subject, False, problem) for problem in problems]
        findings.append(Finding(subject, True, "files"))
        # Loading checks the digests of all tasks, and masks with weights.
        net = load_outside(workdir, state.number, origin=True)
        findings.append(
            Finding(subject, True, f"{len(net.tasks)} task digests, masks")
        )
        answers = golden.replay_network(state, net)
        findings += _findings_of(subject, answers)
    return findings


def _check_saved_model(workdir: Workdir, folder: pathlib.Path) -> list[Finding]:
    subject = str(folder)
    findings: list[Finding] = []
    with _problems_of(subject, findings):
        problems = checksums.check_seal(folder)
        if problems:
            return [Finding(subject, False, problem) for problem in problems]
        findings.append(Finding(subject, True, "files"))
        try:
            state = versions.state_of(workdir, folder)
        except StateError:
            # Already reported for the state.
            return findings
        if state is None:
            text = f"{folder} is of no packed state; the next command that "
            text += "writes to the workdir repairs it"
            return [*findings, Finding(subject, False, text)]
        answers = golden.replay_saved_model(state, folder)
        findings += _findings_of(subject, answers)
    return findings


def _findings_of(subject: str, answers: list[golden.Answered]) -> list[Finding]:
    return [
        Finding(f"{subject} {answer.task}", answer.ok, str(answer))
        for answer in answers
    ]
