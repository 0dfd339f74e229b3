"""All features of the operating system that woolexec uses."""
