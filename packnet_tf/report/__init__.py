"""A workdir as one page of pictures for people: readings, figures, HTML."""
