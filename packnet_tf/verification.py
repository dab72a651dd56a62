"""Checks that every packed state is what it was when it was packed."""

import dataclasses
import pathlib

import numpy as np

from packnet_tf import machine, seals
from packnet_tf.default_strategy import outside_strategy
from packnet_tf.errors import PackNetError, StateError
from packnet_tf.model import PackNet
from packnet_tf.probe import probe_logits, read_probe
from packnet_tf.states import load
from packnet_tf.workdir import StateInfo, Workdir


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

    File digests, digests of all tasks recomputed from the weights, masks
    against weights, and the probe: the kept images through every task's
    view, whose logits must be the same bytes where the machine's facts agree
    with the manifest's. Elsewhere the largest difference is reported, and is
    no failure. Readers need no lock.

    Args:
        workdir: The workdir.

    Returns:
        The report; problems are findings in it, not exceptions.
    """
    findings: list[Finding] = []
    for folder in workdir.state_folders():
        findings += _check_state(workdir, folder)
    if workdir.serving_path.is_dir():
        for folder in sorted(workdir.serving_path.glob("*/*")):
            if seals.is_sealed(folder) or folder.name.isdigit():
                problems = seals.check_seal(folder)
                findings += [Finding(str(folder), False, p) for p in problems]
                if not problems:
                    findings.append(Finding(str(folder), True, "files"))
    return Report(tuple(findings))


def _check_state(workdir: Workdir, folder: pathlib.Path) -> list[Finding]:
    subject = str(folder)
    try:
        state = workdir.read_state(folder)
    except StateError as error:
        return [Finding(subject, False, str(error))]
    problems = seals.check_digests(folder, state.manifest["files"])
    known = {*state.manifest["files"], "manifest.json", "manifest.sha256"}
    problems += [
        f"{path} does not belong to a packed state"
        for path in sorted(folder.iterdir())
        if path.name not in known
    ]
    if problems:
        return [Finding(subject, False, problem) for problem in problems]
    findings = [Finding(subject, True, "files")]
    try:
        # Compares the digests of all tasks, and masks with weights.
        net, _ = outside_strategy(lambda: load(workdir, state.number))
    except PackNetError as error:
        return [*findings, Finding(subject, False, str(error))]
    findings.append(
        Finding(subject, True, f"{len(net.tasks)} task digests, masks")
    )
    return findings + _replay(state, net)


def _replay(state: StateInfo, net: PackNet) -> list[Finding]:
    try:
        images, kept = read_probe(state)
    except StateError as error:
        return [Finding(str(state.path), False, str(error))]
    if images is None:
        return []
    other = machine.differences(
        machine.machine_facts(), state.manifest["machine"]
    )
    logits = outside_strategy(lambda: probe_logits(net, images))
    findings = []
    for name, expected in kept.items():
        subject = f"{state.path} {name}"
        if logits[name].tobytes() == expected.tobytes():
            findings.append(Finding(subject, True, "probe, same bytes"))
            continue
        largest = float(np.abs(logits[name] - expected).max())
        text = f"probe, largest difference of the logits {largest:.3g}"
        if other:
            text += f" (another machine: {', '.join(other)})"
        findings.append(Finding(subject, bool(other), text))
    return findings
