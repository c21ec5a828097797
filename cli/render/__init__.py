"""Pure functions from a model to lines of text or to plain data. Nothing here reads or prints."""
