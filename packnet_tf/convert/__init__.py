"""Plain Keras models into masked ones."""
