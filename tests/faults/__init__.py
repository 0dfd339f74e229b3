"""The rows of the fault list for one machine, each against real processes."""
