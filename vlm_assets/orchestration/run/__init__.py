"""How runs work: launcher, queue, pools, sizes of tasks, progress, what asset bodies are given. Defines no asset."""
