"""SavedModels of packed states, for TensorFlow Serving and other programs."""
