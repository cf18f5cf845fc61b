"""Which runner of a model gets a task: one policy a module, all pure functions over candidates."""
