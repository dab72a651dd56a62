"""`PackNet`: one backbone, many tasks, and the training that protects them."""
