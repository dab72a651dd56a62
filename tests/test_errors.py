"""What is told of an error that another library raised."""

import pytest

from packnet_tf.errors import first_line


@pytest.mark.parametrize(
    "message, told",
    [
        ("  no such file \n in the folder", "no such file"),
        ("", "OSError"),
        (
            "<Dense units=3, ...> could not be made.\n\nconfig={'a': 1}\n\n"
            "Exception encountered: units must be positive",
            "units must be positive",
        ),
        (
            "A total of 2 objects could not be loaded. Example error message "
            "for object <Dense>:\n\nLayer 'dense' expected 2 variables",
            "Layer 'dense' expected 2 variables",
        ),
        ("x" * 301, "x" * 297 + "..."),
    ],
)
def test_it_is_the_line_that_says_something(message, told):
    assert first_line(OSError(message)) == told


def test_a_place_with_less_room_says_so():
    assert first_line(OSError("out of memory"), 8) == "out o..."
