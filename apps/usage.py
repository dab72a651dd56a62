"""What an app says of its flags: --help, and one line for a wrong flag."""

import difflib
import itertools
import os
import re
import sys
import textwrap
from collections.abc import Collection, Sequence

from absl import flags

from apps import run_flags
from packnet_tf.errors import FlagError, first_line
from packnet_tf.options import fields

_WIDTH = 79
# Names and defaults of flags are in a column of their own.
_COLUMN = 30
_SHORT = {"help", "helpshort", "h", "?"}
_FULL = {"helpfull"}

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}
# absl's words for a value that a flag does not take.
_ILLEGAL = re.compile(r"flag --(\w+)=(.*?): .*", re.DOTALL)


def parse(
    argv: Sequence[str], required: Collection[str], unless: str | None
) -> list[str]:
    """Parses an app's flags, or answers a request for help.

    Args:
        argv: The command line; the first part is the program's name.
        required: Flags that must be given.
        unless: A flag that makes the others unnecessary.

    Returns:
        What is left of the command line: the program's name.

    Raises:
        FlagError: Naming the flag that is wrong or missing.
        SystemExit: After help was shown.
    """
    before_end = itertools.takewhile(lambda text: text != "--", argv[1:])
    asked = {text.lstrip("-") for text in before_end if text.startswith("-")}
    if asked & (_SHORT | _FULL):
        print(page(required, full=bool(asked & _FULL)))
        sys.exit(0)
    try:
        left = flags.FLAGS(argv)
    except SystemExit:
        # --helpxml; absl would exit with code 1.
        sys.exit(0)
    except (flags.Error, ValueError) as error:
        raise FlagError(_refusal(error)) from error
    if len(left) > 1:
        raise FlagError(
            f"Unexpected argument {left[1]!r}; every option is a flag of the "
            "form --name=value."
        )
    missing = [name for name in required if flags.FLAGS[name].value is None]
    if missing and not (unless and flags.FLAGS[unless].value):
        *most, last = (f"--{name}" for name in missing)
        names = f"{', '.join(most)} and {last}" if most else last
        verb = "is" if len(missing) == 1 else "are"
        raise FlagError(
            f"{names} {verb} missing; give all that this app needs, as in: "
            f"{_example(argv[0])}"
        )
    return left


def page(required: Collection[str], *, full: bool) -> str:
    """Returns the text of --help, or of --helpfull.

    Args:
        required: Flags that must be given.
        full: Whether to show every flag, with the whole of its description.
    """
    options = run_flags.OPTIONS
    hidden = [] if full else [n for n, o in options.items() if not o.basic]
    parts = [_doc()]
    for group in fields.GROUPS:
        entries = [
            _entry(name, name in required, whole=not hidden)
            for name, option in options.items()
            if option.group == group and name not in hidden
        ]
        if entries:
            parts.append("\n".join([f"{group}:", *entries]))
    last = (
        "--flagfile=FILE reads flags from a file, one per line: the place to "
        "keep your settings."
    )
    if hidden:
        last = f"--helpfull shows {len(hidden)} more flag(s). {last}"
    return "\n\n".join([*parts, textwrap.fill(last, _WIDTH)])


def _doc() -> str:
    return (sys.modules["__main__"].__doc__ or "").strip()


def _example(program: str) -> str:
    """Returns the first command of the app's description, on one line."""
    text = _doc().replace("\\\n", " ")
    name = re.escape(os.path.basename(program))
    found = re.search(rf"^ *(python apps/{name} .*)$", text, re.M)
    return " ".join(found[1].split()) if found else "--help"


def _entry(name: str, required: bool, *, whole: bool) -> str:
    option, flag = run_flags.OPTIONS[name], flags.FLAGS[name]
    text = option.help
    if not whole:
        # The first sentence.
        text = re.split(r"(?<=\.) (?=[A-Z])", text)[0]
    if option.choices:
        text += f" One of: {', '.join(option.choices)}."
    if required:
        text += " Required."
    if flag.boolean:
        head = f"  --[no]{name}"
    else:
        value = flag.default
        if isinstance(value, list):
            value = ",".join(value)
        head = f"  --{name}={'...' if value in (None, '') else value}"
    lines = textwrap.wrap(text, _WIDTH - _COLUMN)
    if len(head) > _COLUMN - 2:
        lines.insert(0, "")
    lines = [" " * _COLUMN + line for line in lines]
    lines[0] = head + lines[0][len(head) :]
    return "\n".join(lines).rstrip()


def _refusal(error: Exception) -> str:
    """Returns what to say of flags that absl could not parse."""
    if isinstance(error, flags.UnrecognizedFlagError):
        close = difflib.get_close_matches(
            error.flagname, run_flags.OPTIONS, n=2, cutoff=0.6
        )
        remedy = "--help shows the flags."
        if close:
            remedy = f"did you mean {' or '.join(f'--{n}' for n in close)}?"
        return f"--{error.flagname}: there is no such flag; {remedy}"
    text = str(error)
    found = _ILLEGAL.fullmatch(text)
    if found is not None:
        name, value = found.groups()
        choices = run_flags.OPTIONS.get(name, fields.Option("")).choices
        expected = _EXPECTED.get(flags.FLAGS[name].flag_type(), "another value")
        if choices:
            expected = f"one of {', '.join(choices)}"
        return f"--{name}={value}: expected {expected}."
    if text.startswith("Missing value for flag "):
        name = text.rpartition(" ")[2]
        return f"{name}: its value is missing; write {name}=VALUE."
    if isinstance(error, flags.CantOpenFlagFileError):
        file, why = error.__context__, first_line(error)
        if isinstance(file, OSError):
            why = f"{file.filename} cannot be read ({file.strerror})"
        return f"--flagfile: {why}; expected a file with a flag on each line."
    return f"{first_line(error)}; --help shows the flags."
