"""The whole life of tasks on a virtual clock, with every fault that a seed asks for: `make simulate`."""
