"""Every use of a private name of Keras or TensorFlow, and why it is needed.

docs/architecture.md has the table of these names: what breaks without each,
and the public way that it waits for. `tests/tf_internals/` fails loudly when a
library changes one of them; `tests/test_private_names.py` holds that no other
file uses any.
"""
