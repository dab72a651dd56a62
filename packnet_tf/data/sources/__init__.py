"""Where images come from: labelled images by number."""
