"""What both ends of a link have in common."""
