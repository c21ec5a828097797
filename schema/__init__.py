"""What the operator may wish: the YAML dialect, its schema, and the frozen model it becomes."""
