"""The commands that go through Dagster: `build` and `reconcile`, in this process or through the queue."""
