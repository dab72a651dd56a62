"""The whole test suite on the oldest and the newest versions: `nox`.

Each session has a virtual environment of its own. The Python versions have to
be installed; docs/versions.md has the table that these sessions hold.
"""

import nox

nox.options.sessions = ["oldest", "newest"]
nox.options.stop_on_first_error = False


def run(session: nox.Session, *versions: str) -> None:
    session.install("-e", ".[test,demo]", *versions)
    session.run("pip", "list", silent=True)
    session.run(
        "python",
        "-m",
        "pytest",
        *(session.posargs or ["tests", "-n", "2", "--dist", "loadfile"]),
    )


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """The oldest versions that the package is for."""
    # Later ones need a protobuf that this TensorFlow does not take.
    metadata = "tensorflow-metadata<1.18"
    run(session, "tensorflow==2.19.*", "keras==3.13.*", metadata)


@nox.session(python="3.12")
def middle(session: nox.Session) -> None:
    """The versions in between; not run unless asked for, with `-s middle`."""
    run(session, "tensorflow==2.20.*", "keras==3.14.*")


@nox.session(python="3.13")
def newest(session: nox.Session) -> None:
    """The newest versions that the package is for."""
    run(session, "tensorflow==2.21.*", "keras==3.15.*")
