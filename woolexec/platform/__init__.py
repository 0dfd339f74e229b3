"""What woolexec needs of the operating system, behind one door."""
